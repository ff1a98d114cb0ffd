"""The paper's experiments, as its section 4 describes them: ``refine reproduce``.

MNIST enters; the cells and claims of Tables 1 to 4 leave, beside what was measured.
"""
