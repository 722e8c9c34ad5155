"""Colours that depend on the direction they are seen from: real spherical harmonics up to degree 3, and how they rotate.

Basis, signs and order are those of 3D Gaussian Splatting's files and rasterisers (Kerbl et al. 2023, reference implementation;
after Sloan 2008, "Stupid Spherical Harmonics Tricks", appendix A2): the colour is 0.5 + C₀·f_dc + Σ Yᵢ(d)·fᵢ, clamped at 0,
with d the unit direction from the camera to the Gaussian, in the frame of its mean. `basis_functions` serves NumPy and
PyTorch alike.
"""

from typing import Any

# Coefficients of the degrees 1 and above, for harmonics up to degree 0, 1, 2 and 3.
HARMONIC_COUNTS = (0, 3, 8, 15)
# 1 / (2√π), the value of the harmonic of degree 0.
CONSTANT_HARMONIC = 0.28209479177387814
# √3 / (2√π).
_C1 = 0.4886025119029199
# √15 / (2√π) twice, √5 / (4√π), √15 / (4√π).
_C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
# √(35/2π) / 4, √105 / (2√π), √(21/2π) / 4, √7 / (4√π), √105 / (4√π).
_C3 = (0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277)


def degree_of(count: int) -> int:
    """The degree that `count` coefficients beside the constant one reach.

    Raises:
        ValueError: when no degree up to 3 has as many.
    """
    return HARMONIC_COUNTS.index(count)


def basis_functions(x: Any, y: Any, z: Any, degree: int) -> list[Any]:  # noqa: ANN401 - arrays of any library
    """Values of the harmonics of degree 1 to `degree` at unit directions: 3, 8 or 15 arrays, in the order of the coefficients."""
    values = []
    if degree > 0:
        values += [-_C1 * y, _C1 * z, -_C1 * x]
    if degree > 1:
        xx, yy, zz = x * x, y * y, z * z
        values += [_C2[0] * x * y, -_C2[0] * y * z, _C2[1] * (2.0 * zz - xx - yy), -_C2[0] * x * z, _C2[2] * (xx - yy)]
    if degree > 2:
        values += [
            -_C3[0] * y * (3.0 * xx - yy),
            _C3[1] * x * y * z,
            -_C3[2] * y * (4.0 * zz - xx - yy),
            _C3[3] * z * (2.0 * zz - 3.0 * xx - 3.0 * yy),
            -_C3[2] * x * (4.0 * zz - xx - yy),
            _C3[4] * z * (xx - yy),
            -_C3[0] * x * (xx - 3.0 * yy),
        ]
    return values
