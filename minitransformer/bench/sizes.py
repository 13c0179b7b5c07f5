"""The named sizes, each of which consists of a model and a training batch."""

from dataclasses import dataclass, fields

from minitransformer.config import Config
from minitransformer.layers.feed_forward import FEED_FORWARDS

SHORT_PROMPT = 8  # tokens of the prompt in a turn of decoding
MOST_DECODED = 64  # new tokens in a turn of decoding


@dataclass(frozen=True)
class Size:
    """A model and a batch of `batch` sequences of `length` tokens.

    If `prompt` is not None, the time to the first new token after `prompt` tokens is also measured.
    """

    config: Config
    batch: int
    length: int
    prompt: int | None = None

    @property
    def tokens(self) -> int:
        return self.batch * self.length

    @property
    def decoded(self) -> int:
        return min(MOST_DECODED, self.config.context - SHORT_PROMPT)


LLAMA = {"norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary", "bias": False}
SMALL_LLAMA = {"context": 1024, "d_model": 384, "n_heads": 6, "n_kv_heads": 2, "n_layers": 6, "d_ff": 1024, **LLAMA}
SMOLLM2 = {"context": 8192, "d_model": 576, "n_heads": 9, "n_kv_heads": 3, "n_layers": 30, "d_ff": 1536, **LLAMA}
GPT2 = {"context": 1024, "d_model": 768, "n_heads": 12, "n_layers": 12, "feed_forward": "gelu_tanh"}
SIZES = {
    "tiny": Size(Config(1000, context=128, d_model=64, n_heads=4, n_layers=2), batch=16, length=64),
    "nano": Size(Config(65, context=64, d_model=128, n_heads=4, n_layers=4), batch=12, length=64),
    "llama": Size(Config(1000, tie_embeddings=False, **SMALL_LLAMA), batch=4, length=256),
    "baby": Size(Config(65, context=256, d_model=384, n_heads=6, n_layers=6), batch=4, length=256),
    "gpt2": Size(Config(50257, **GPT2), batch=1, length=256, prompt=1000),
    "smollm2": Size(Config(49152, rope_base=100_000.0, **SMOLLM2), batch=1, length=256),
}

# Fields of Config whose values the models in PyTorch and JAX take as they are. The others must have their defaults.
ANY = ("vocab_size", "context", "d_model", "n_heads", "n_layers", "d_ff", "n_kv_heads", "d_head", "norm", "bias")
ANY += ("tie_embeddings", "eps", "rope_base", "dtype")


def check_supported_in_torch(config: Config) -> None:
    known = [name for name, choice in FEED_FORWARDS.items() if choice.torch is not None]
    check_supported("TorchTransformer", config, feed_forwards=known)


def check_supported(name: str, config: Config, *, feed_forwards) -> None:
    """Raise ValueError, with the field, if the model `name` of another framework does not have a part of a Config."""
    only = {"feed_forward": tuple(feed_forwards), "positions": ("learned", "rotary")}
    for field in fields(Config):
        value = getattr(config, field.name)
        if field.name not in ANY and value not in only.get(field.name, (field.default,)):
            allowed = ", ".join(map(str, only.get(field.name, (field.default,))))
            raise ValueError(f"{name}: {field.name} {value!r} is not supported, only {allowed}")
