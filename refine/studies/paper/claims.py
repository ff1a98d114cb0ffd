"""The numbers and claims of Tables 1 to 4 (section 4 of arXiv 2510.02826), and what answers each."""

from __future__ import annotations

from refine.studies.paper.tables import (
    Cell,
    Claim,
    Quantity,
    Table,
    epochs,
    gradient_noise,
    gradient_variance,
    of,
    overtaken,
    ratio,
    relative,
)

AUTOENCODER = ("autoencoder", of("autoencoder", "mse"))
CENTROIDS = ("64 centroids", of("codebook", "mse"))
MSE, PSNR, EPOCHS, SHIFT = "MSE, sigma .20", "PSNR, dB", "epochs to .018", "MSE, sigma .30"
HEAD_MSE, VARIANCE, TIME = "dequantised MSE", "gradient variance", "time of a step"
HF_PSNR = "HF-PSNR, dB"


def below(upper: float) -> Quantity:
    """A constant to be below."""
    return lambda figures: upper


def negative(quantity: Quantity) -> Quantity:
    """For claims that one is above another."""

    def minus(figures: dict[str, dict[str, float]]) -> float | None:
        value = quantity(figures)
        return None if value is None else -value

    return minus  # type: ignore[return-value]


def denoising(
    row: str, experiment: str, numbers: tuple[tuple[float, float], ...], floor: tuple[str, Quantity] | None
) -> list[Cell]:
    """The cells of a row of Table 1."""
    picks = [of(experiment, "mse"), of(experiment, "psnr"), epochs(experiment), of(experiment, "mse_shifted")]
    columns = zip((MSE, PSNR, EPOCHS, SHIFT), numbers, picks, (floor, None, None, floor), strict=True)
    return [Cell(row, column, *number, pick, bound) for column, number, pick, bound in columns]


TABLE_1 = Table(
    "Setup A: pixel against latent denoising",
    [
        *denoising("Pixel-MLP", "pixel", ((0.0195, 0.0003), (17.6, 0.1), (14, 1), (0.0280, 0.0010)), None),
        *denoising("Latent-MLP", "latent", ((0.0158, 0.0002), (18.9, 0.1), (9, 1), (0.0221, 0.0010)), AUTOENCODER),
    ],
    [
        Claim("latent: lower error", ".0158 < .0195", of("latent", "mse"), of("pixel", "mse")),
        Claim("latent: higher PSNR", "18.9 > 17.6", negative(of("latent", "psnr")), negative(of("pixel", "psnr"))),
        Claim("latent: fewer epochs to .018", "9 < 14", epochs("latent"), epochs("pixel")),
        Claim(
            "latent: lower error under more noise",
            ".0221 < .0280",
            of("latent", "mse_shifted"),
            of("pixel", "mse_shifted"),
        ),
        Claim(
            "latent: suffers less from more noise, relatively",
            "1.40 < 1.44",
            ratio("latent", "mse_shifted", "mse"),
            ratio("pixel", "mse_shifted", "mse"),
        ),
    ],
    {
        "update at which the pixel model overtakes": overtaken("latent", "pixel"),
        "MSE of the pixel model, output clamped to [0, 1]": of("pixel", "mse_clamped"),
        "MSE of the latent model, output clamped to [0, 1]": of("latent", "mse_clamped"),
        "MSE at .30 over MSE at .20, pixel": ratio("pixel", "mse_shifted", "mse"),
        "MSE at .30 over MSE at .20, latent": ratio("latent", "mse_shifted", "mse"),
    },
    ["closed_forms", "autoencoder", "pixel", "latent"],
)


def head(
    row: str, experiment: str, name: str, numbers: tuple[tuple[float, float], tuple[float, float], float]
) -> list[Cell]:
    """The cells of a row of Table 2."""
    (error, error_spread), (variance, variance_spread), time = numbers
    floor, first = AUTOENCODER if name == "regression" else CENTROIDS, name == "regression"
    return [
        Cell(row, HEAD_MSE, error, error_spread, of(experiment, "mse"), floor),
        Cell(row, VARIANCE, variance, variance_spread, gradient_variance(experiment), judged=False),
        Cell(row, TIME, time, None, ratio("time_of_heads", name, "regression"), judged=not first),
    ]


TABLE_2 = Table(
    "Setup B: heads on the latent",
    [
        *head("Regression", "latent", "regression", ((0.0204, 0.0004), (2.4e-3, 0.2e-3), 1.00)),
        *head("Softmax-64", "softmax", "softmax", ((0.0181, 0.0003), (1.5e-3, 0.1e-3), 1.02)),
        *head("Bitwise-8", "bitwise", "bitwise", ((0.0185, 0.0003), (1.1e-3, 0.1e-3), 0.92)),
    ],
    [
        Claim("softmax: lower error than regression", ".0181 < .0204", of("softmax", "mse"), of("latent", "mse")),
        Claim("bitwise: lower error than regression", ".0185 < .0204", of("bitwise", "mse"), of("latent", "mse")),
        Claim("softmax: lower error than bitwise", ".0181 < .0185", of("softmax", "mse"), of("bitwise", "mse")),
        *(
            Claim(f"{a}: {words} than {b}", numbers, kind(lower), kind(upper))
            for words, kind in [
                ("lower gradient variance", gradient_variance),
                ("lower gradient variance over squared mean", gradient_noise),
            ]
            for a, lower, b, upper, numbers in [
                ("softmax", "softmax", "regression", "latent", "1.5 < 2.4"),
                ("bitwise", "bitwise", "softmax", "softmax", "1.1 < 1.5"),
            ]
        ),
        Claim(
            "bitwise: less time a step than regression",
            ".92 < 1",
            ratio("time_of_heads", "bitwise", "regression"),
            below(1.0),
        ),
    ],
    {
        "gradient variance over squared mean, regression": gradient_noise("latent"),
        "gradient variance over squared mean, softmax": gradient_noise("softmax"),
        "gradient variance over squared mean, bitwise": gradient_noise("bitwise"),
    },
    ["closed_forms", "autoencoder", "codebook", "latent", "softmax", "bitwise", "time_of_heads"],
)

STILL = ("with R0 = 0", of("closed_forms", "no_detail_hf_psnr"))
TABLE_3 = Table(
    "Setup C: coarse to fine against a single shot",
    [
        Cell("Single-shot", "MSE", 0.0193, 0.0003, of("pixel", "mse")),
        Cell("Single-shot", EPOCHS, 12, 1, epochs("pixel")),
        Cell("Single-shot", HF_PSNR, 16.8, 0.2, of("pixel", "hf_psnr"), STILL),
        Cell("Coarse to fine", "MSE", 0.0164, 0.0002, of("cascade_2", "mse")),
        Cell("Coarse to fine", EPOCHS, 7, 1, epochs("cascade_2")),
        Cell("Coarse to fine", HF_PSNR, 18.2, 0.2, of("cascade_2", "hf_psnr"), STILL),
    ],
    [
        Claim("coarse to fine: lower error", ".0164 < .0193", of("cascade_2", "mse"), of("pixel", "mse")),
        Claim("coarse to fine: fewer epochs to .018", "7 < 12", epochs("cascade_2"), epochs("pixel")),
        Claim(
            "coarse to fine: higher HF-PSNR",
            "18.2 > 16.8",
            negative(of("cascade_2", "hf_psnr")),
            negative(of("pixel", "hf_psnr")),
        ),
    ],
    {},
    ["closed_forms", "pixel", "cascade_2"],
)

DEPTHS = {1: "pixel", 2: "cascade_2", 3: "cascade_3"}
TABLE_4 = Table(
    "Depth, parameters matched",
    [
        cell
        for s, error, time in [(1, 0.0193, 1.00), (2, 0.0164, 1.15), (3, 0.0162, 1.22)]
        for cell in (
            Cell(f"S = {s}", "MSE", error, None, of(DEPTHS[s], "mse")),
            Cell(f"S = {s}", TIME, time, None, ratio("time_of_depths", str(s), "1"), judged=s > 1),
        )
    ],
    [
        Claim("two bands: lower error than one", ".0164 < .0193", of("cascade_2", "mse"), of("pixel", "mse")),
        Claim("three bands: lower error than two", ".0162 < .0164", of("cascade_3", "mse"), of("cascade_2", "mse")),
        Claim("two bands: more time a step than one", "1 < 1.15", below(1.0), ratio("time_of_depths", "2", "1")),
        Claim(
            "three bands: more time a step than two",
            "1.15 < 1.22",
            ratio("time_of_depths", "2", "1"),
            ratio("time_of_depths", "3", "1"),
        ),
    ],
    {"MSE of S = 3 over MSE of S = 2 (the paper's: 0.99)": relative("cascade_3", "cascade_2")},
    ["pixel", "cascade_2", "cascade_3", "time_of_depths"],
)

TABLES = {"1": TABLE_1, "2": TABLE_2, "3": TABLE_3, "4": TABLE_4}
