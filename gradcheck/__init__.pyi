"""The public names. __init__.py reads them from this file, and loads each on first use."""

from gradcheck.adapters.complex_numbers import from_complex as from_complex
from gradcheck.adapters.derivatives import (
    from_derivative as from_derivative,
    from_jacobian as from_jacobian,
    from_value_and_gradient as from_value_and_gradient,
)
from gradcheck.adapters.frameworks import from_jax as from_jax, from_torch as from_torch
from gradcheck.adapters.layers import from_layer as from_layer
from gradcheck.adapters.nested import from_nested as from_nested
from gradcheck.adapters.pairs import from_pair as from_pair
from gradcheck.call import (
    Call as Call,
    borrowed as borrowed,
    clear_gradients as clear_gradients,
    parameters_of as parameters_of,
    randomize_parameters as randomize_parameters,
    to_float64 as to_float64,
)
from gradcheck.cases import Case as Case, check_case as check_case, load_cases as load_cases
from gradcheck.certify import (
    Certificate as Certificate,
    certify as certify,
    same as same,
    same_gradient as same_gradient,
)
from gradcheck.checking import (
    adjoint as adjoint,
    check as check,
    check_call as check_call,
    check_module as check_module,
)
from gradcheck.identities import expectation as expectation
from gradcheck.jacobian_matrix import Jacobian as Jacobian, jacobian as jacobian
from gradcheck.lines import steps as steps, steps_of_call as steps_of_call
from gradcheck.operators import (
    Taylor as Taylor,
    check_adjoint_operator as check_adjoint_operator,
    check_hessian as check_hessian,
    check_hvp as check_hvp,
    check_jvp as check_jvp,
    taylor as taylor,
)
from gradcheck.report import (
    ArgumentReport as ArgumentReport,
    GradientError as GradientError,
    Problem as Problem,
    Report as Report,
    report_html as report_html,
)
from gradcheck.updates import check_update as check_update
