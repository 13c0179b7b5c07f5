"""The named sizes: models and batches that a training step and decoding are measured at."""

from dataclasses import asdict, dataclass

from minitransformer.config import Config

DECODED = 64  # new tokens of a turn of decoding, where the context has room for them
SHORT_PROMPT = 8  # tokens before them


@dataclass(frozen=True)
class Size:
    """A model and what is asked of it.

    config   the model
    batch    B, sequences in a training step
    length   T, tokens in each
    prompt   tokens of the long prompt whose first new token is timed; None for sizes where that says little
    """

    config: Config
    batch: int
    length: int
    prompt: int | None = None

    @property
    def tokens(self) -> int:
        """B · T, the tokens of a training step."""
        return self.batch * self.length

    @property
    def decoded(self) -> int:
        """The new tokens of one turn of decoding."""
        return min(DECODED, self.config.context - SHORT_PROMPT)

    def to_dict(self) -> dict:
        """Return what JSON can hold; Size.from_dict restores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "Size":
        """Restore what to_dict made."""
        return cls(**fields | {"config": Config(**fields["config"])})


def llama_config() -> Config:
    """A Llama of about ten million parameters: grouped queries, SwiGLU, rotary positions, RMS norm."""
    return Config(
        vocab_size=1000,
        context=1024,
        d_model=384,
        n_heads=6,
        n_kv_heads=2,
        n_layers=6,
        d_ff=1024,
        norm="rms_norm",
        feed_forward="swiglu",
        positions="rotary",
        bias=False,
        tie_embeddings=False,
    )


def smollm2_config() -> Config:
    """SmolLM2 of 135 million parameters: a Llama that is deep and narrow, so that a token is many small products."""
    return Config(
        vocab_size=49152,
        context=8192,
        d_model=576,
        n_heads=9,
        n_kv_heads=3,
        n_layers=30,
        d_ff=1536,
        norm="rms_norm",
        feed_forward="swiglu",
        positions="rotary",
        bias=False,
        rope_base=100_000.0,
    )


GPT2 = Config(50257, context=1024, d_model=768, n_heads=12, n_layers=12, feed_forward="gelu_tanh")
SIZES = {
    "tiny": Size(Config(1000, context=128, d_model=64, n_heads=4, n_layers=2), batch=16, length=64),
    "nano": Size(Config(65, context=64, d_model=128, n_heads=4, n_layers=4), batch=12, length=64),
    "llama": Size(llama_config(), batch=4, length=256),
    "baby": Size(Config(65, context=256, d_model=384, n_heads=6, n_layers=6), batch=4, length=256),
    "gpt2": Size(GPT2, batch=1, length=256, prompt=1000),
    "smollm2": Size(smollm2_config(), batch=1, length=256),
}
