"""Noun phrases for the names of each component's backward pass. A student reads them instead of an answer."""

DY = "dy: the upstream gradient; dz: the upstream gradient; dp: the upstream gradient; dloss: the upstream gradient"
NORM = """gamma: the gain γ; x_hat: the normalized x̂; dx_hat: the gradient of x̂; r: the scale 1/σ;
shift: the path through the mean; scale: the mean of dx̂ · x̂; x_hat * scale: the path through r;
beta: the bias β; mu: the mean μ; eps: ε; positions: the positions"""
GLOSSARY = {
    "linear": "weight: the matrix W; weight.T: the transpose of W; bias: the bias; rows(dy): dy",
    "embedding": "ids: the indices; dweight: the gradient of the table",
    "unembedding": "weight: the table W; rows(x): x; rows(dy): dy",
    "layer_norm": f"{NORM}; x_hat * scale: the path through the variance",
    "rms_norm": NORM,
    "softmax": "mean_dy: the weighted sum of dy; y: the output y; dy - mean_dy: the difference",
    "log_softmax": "np.exp(z): softmax's output; z: the output z",
    "attention": """s: the scale; used: the weights after dropout; weights: the weights; k: the keys; q: the queries;
v: the values; dused: the gradient of the weights after dropout; dweights: the gradient of the weights;
dscores: the gradient of the scores; softmax_backward: softmax's backward;
on_weights_backward: dropout's backward""",
    "relu": "off: the mask; np.where(off, 0, dy): the masked gradient",
    "silu": "sigma: the logistic function σ; 1 - sigma: the slope of σ; x * (1 - sigma): the path through σ",
    "gelu_exact": "slope: the slope; Phi: Φ; phi: the density φ",
    "gelu_tanh": "u_slope: the slope of u; Phi: Φ; c: √(2/π); x * 2 * Phi * (1 - Phi) * u_slope: the path through Φ",
    "swiglu": "a: the gate silu(g); u: the factor u; da: the gradient of a; silu_backward: silu's backward",
    "dropout": "keep: the mask; scale: the scale of the kept entries",
    "cross_entropy": """a: the weighted targets; p: the probabilities; A: the sum of the targets; A * p: the first term;
dlosses: the gradient of the losses; share: the share of each loss; kept: the mask of ignored targets""",
    "turned": "cos: the cosine; sin: the sine; da: the first halves; db: the second halves",
    "multi_head_attention": """w_o_backward: W_o's backward; heads_backward: the heads' backward;
dxv: the path through v; attention_backward: attention's backward; dxq: the path through q; dxk: the path through k""",
    "feed_forward": """down_backward: W_down's backward; activation_backward: the activation's backward;
up_backward: W_up's backward""",
    "gated_feed_forward": """gate_backward(dg): the path through the gate; up_backward(du): the path through W_up;
swiglu_backward: swiglu's backward; down_backward: W_down's backward""",
    "block": """dr: the direct path; norm1_backward: norm1's backward; norm2_backward: norm2's backward;
attention_backward: attention's backward; feed_forward_backward: feed_forward's backward;
dropout1_backward: the dropout after attention; dropout2_backward: the dropout after feed_forward;
residual_mid_backward: the residual's backward""",
}


def glossary_of(component):
    """Return {code: noun phrase} for a component.

    The exercises "rotary" and "gelu" have the noun phrases of their textbook functions.
    """
    names = {"rotary": ("turned",), "gelu": ("gelu_exact", "gelu_tanh")}.get(component, (component,))
    entries = "; ".join([DY, *(GLOSSARY.get(name, DY) for name in names)]).split(";")
    return dict(entry.strip().split(": ") for entry in entries)
