"""The parameters that a configuration says a model has are those that the model has."""

from hypothesis import given
from strategies import configs

from minitransformer import Config, Transformer
from minitransformer.unset import parameter_shapes


@given(configs())
def test_names_and_shapes_are_those_of_the_model_in_its_order(config):
    built = [(name, parameter.data.shape) for name, parameter in Transformer(config).named_parameters()]
    assert list(parameter_shapes(config)) == built


def test_of_a_model_too_large_to_build_they_come_one_by_one():
    huge = Config(vocab_size=10**6, context=10**6, d_model=10**4, n_layers=10**3)
    shapes = parameter_shapes(huge)
    assert next(shapes) == ("embedding.weight", (10**6, 10**4))
    assert next(shapes) == ("positional_embedding.weight", (10**6, 10**4))
    assert next(shapes) == ("blocks.0.norm1.gamma", (10**4,))
