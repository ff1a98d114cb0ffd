"""The domains that ship with refine. They lie beside the core on disk; import them as refine.domains only."""

if __name__ != "refine.domains":
    raise ImportError(f"import this package as refine.domains, not as {__name__}: its classes would be second copies")
