#!/usr/bin/env python3
"""Families of transformers, exported by PyTorch and compiled: which are refused, give other numbers, or keep scores in memory.

usage: families.py [--tenon build/tenon] [--families bert,llama,...] [--exporter dynamo,script] [--attention sdpa,eager] [--keep DIR]

Every family is a tiny model of its configuration in transformers, with random weights (fixed seed) that make softmax uneven, exported
with symbolic batch and lengths.  `tenon run --device cpu` in float32 is compared with PyTorch in float32 at two shapes that are not the
exported one, one of them with padding ("error": the largest difference over the root mean square of PyTorch's); `tenon opt --precision fp16`
says how many attention ops are found, of as many as the model has layers of them; `tenon compile --precision fp16 --target sm_90a
--no-gpu` must make a plan.  Prints one table; the exit code is 1 where something is refused, an error is above 1e-4, or an attention
is missed, which is not known to be so (`KNOWN`).  What PyTorch cannot export is no failure.  Needs torch, transformers, onnx, onnxscript, numpy (exit code 77: they are not there)."""
import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import warnings

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
warnings.filterwarnings("ignore")

try:
    import numpy as np
    import onnxscript  # noqa: F401: of the exporter
    import torch
    import transformers as t
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

BOUND = 1e-4  # of float32, which sums in another order
VOCABULARY, HIDDEN, HEADS, LAYERS = 97, 64, 4, 2
# family, exporter: what is known to be refused or missed
KNOWN = {("falcon_alibi", "script"): "PyTorch writes a Cast to complex128, which ONNX Runtime does not load either"}


class Wrapped(torch.nn.Module):
    """The first output, of inputs by position: what an exporter takes."""

    def __init__(self, model, names, **options):
        super().__init__()
        self.model, self.names, self.options = model, names, options

    def forward(self, *inputs):
        y = self.model(**dict(zip(self.names, inputs)), return_dict=True, **self.options)
        return next(y[k] for k in ("logits", "last_hidden_state") if k in y)


def ids(batch, length):
    return torch.randint(3, VOCABULARY, (batch, length))


def mask(batch, length):
    """The last sequence ends early."""
    m = torch.ones(batch, length, dtype=torch.int64)
    if batch > 1:
        m[-1, length - 2:] = 0
    return m


TEXT = {"input_ids": (ids, "batch", "length"), "attention_mask": (mask, "batch", "length")}


def family(model, config, inputs=TEXT, attentions=LAYERS, options=None, **keys):
    """keys: of the configuration, beyond those of `common` that it knows."""
    return dict(model=model, config=config, inputs=inputs, attentions=attentions, options=options or {}, keys=keys)


def decoder(name, **keys):
    return family(keys.pop("model", name + "ForCausalLM"), keys.pop("config", name + "Config"), options={"use_cache": False}, **keys)


def encoder(name, **keys):
    return family(name + "Model", name + "Config", **keys)


def image(side):
    return {"pixel_values": (lambda batch: torch.randn(batch, 3, side, side), "batch")}


def hidden(batch, length):
    return torch.randn(batch, length, HIDDEN)


BOTH = {**TEXT, "decoder_input_ids": (ids, "batch", "target")}
FEATURES = {"input_features": (lambda batch: torch.randn(batch, 80, 40), "batch")}
SPEECH = {"input_values": (lambda batch, length: torch.randn(batch, 400 * length), "batch", "samples")}
ROOM = {"max_position_embeddings": 64}
SEEN = {"image_size": 32, "patch_size": 8}

FAMILIES = {
    # encoders of text
    "bert": encoder("Bert"),
    "roberta": encoder("Roberta"),
    "xlm_roberta": encoder("XLMRoberta"),
    "distilbert": encoder("DistilBert", dim=HIDDEN, n_heads=HEADS, n_layers=LAYERS, hidden_dim=96),
    "electra": encoder("Electra", embedding_size=HIDDEN),
    "mpnet": encoder("MPNet"),
    "albert": encoder("Albert", embedding_size=32),
    "deberta": encoder("Deberta", relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "deberta_v2": encoder("DebertaV2", relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=8, share_att_key=True,
                          norm_rel_ebd="layer_norm"),
    "modernbert": encoder("ModernBert", local_attention=6, global_attn_every_n_layers=2),
    "esm": encoder("Esm", position_embedding_type="rotary", pad_token_id=1),
    # decoders
    "gpt2": decoder("GPT2", model="GPT2LMHeadModel"),
    "gpt_neo": decoder("GPTNeo", attention_types=[[["global", "local"], 1]], window_size=4, num_layers=LAYERS),
    "gptj": decoder("GPTJ", rotary_dim=8),
    "gpt_neox": decoder("GPTNeoX"),
    "opt": decoder("OPT", ffn_dim=96, word_embed_proj_dim=HIDDEN),
    "bloom": decoder("Bloom"),
    "mpt": decoder("Mpt", d_model=HIDDEN, n_heads=HEADS, n_layers=LAYERS, max_seq_len=64),
    "falcon": decoder("Falcon", multi_query=True),
    "falcon_alibi": decoder("Falcon", alibi=True, multi_query=False, new_decoder_architecture=False),
    "phi": decoder("Phi"),
    "phi3": decoder("Phi3"),
    "llama": decoder("Llama"),
    "mistral": decoder("Mistral", sliding_window=4),
    "mixtral": decoder("Mixtral", num_local_experts=4, sliding_window=None),
    "qwen2": decoder("Qwen2"),
    "qwen3": decoder("Qwen3"),
    "gemma": decoder("Gemma"),
    "gemma2": decoder("Gemma2", sliding_window=4, query_pre_attn_scalar=16),
    "gemma3": decoder("Gemma3", config="Gemma3TextConfig", sliding_window=4, query_pre_attn_scalar=16,
                      layer_types=["sliding_attention", "full_attention"]),
    "gpt_oss": decoder("GptOss", num_local_experts=4, num_experts_per_tok=2, sliding_window=4, layer_types=["sliding_attention", "full_attention"],
                       experts_implementation="batched_mm"),
    "granite": decoder("Granite", attention_multiplier=0.2, residual_multiplier=0.5),
    "olmo2": decoder("Olmo2"),
    "starcoder2": decoder("Starcoder2", sliding_window=4),
    "stablelm": decoder("StableLm"),
    "cohere": decoder("Cohere"),
    "smollm3": decoder("SmolLM3"),
    # of two halves
    "t5_encoder": family("T5EncoderModel", "T5Config"),
    "t5": family("T5ForConditionalGeneration", "T5Config", BOTH, 3 * LAYERS, {"use_cache": False}),
    "bart": family("BartForConditionalGeneration", "BartConfig", BOTH, 3 * LAYERS, {"use_cache": False}, decoder_start_token_id=2),
    "marian": family("MarianMTModel", "MarianConfig", BOTH, 3 * LAYERS, {"use_cache": False}, decoder_start_token_id=2),
    "whisper_encoder": family("WhisperEncoder", "WhisperConfig", FEATURES, max_source_positions=20),
    "whisper_decoder": family("WhisperDecoder", "WhisperConfig", {
        "input_ids": (ids, "batch", "length"), "encoder_hidden_states": (hidden, "batch", "frames")}, 2 * LAYERS, {"use_cache": False},
        max_target_positions=64),
    # images and speech
    "vit": encoder("ViT", inputs=image(32), **SEEN),
    "deit": encoder("DeiT", inputs=image(32), **SEEN),
    "beit": encoder("Beit", inputs=image(32), use_relative_position_bias=True, **SEEN),
    "dinov2": encoder("Dinov2", inputs=image(32), **SEEN),
    "swin": encoder("Swin", inputs=image(32), image_size=32, patch_size=2, embed_dim=32, depths=[2, 2], num_heads=[2, 4], window_size=4,
                    attentions=4),
    "swinv2": encoder("Swinv2", inputs=image(32), image_size=32, patch_size=2, embed_dim=32, depths=[2, 2], num_heads=[2, 4], window_size=4,
                      attentions=4),
    "clip_vision": family("CLIPVisionModel", "CLIPVisionConfig", image(32), **SEEN),
    "clip_text": family("CLIPTextModel", "CLIPTextConfig", eos_token_id=2),
    "siglip_vision": family("SiglipVisionModel", "SiglipVisionConfig", image(32), **SEEN, vision_use_head=False),
    "siglip_text": family("SiglipTextModel", "SiglipTextConfig"),
    "wav2vec2": encoder("Wav2Vec2", inputs=SPEECH, num_conv_pos_embedding_groups=4, num_conv_pos_embeddings=16, conv_dim=[32, 32, 32],
                        conv_kernel=[10, 3, 3], conv_stride=[5, 2, 2], num_feat_extract_layers=3),
}


def common(config):
    """Small sizes by all the names that they go by."""
    sizes = dict(vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=2,
                 intermediate_size=96, head_dim=16, max_position_embeddings=64, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_inner=96,
                 n_positions=64, d_model=HIDDEN, d_ff=96, d_kv=16, num_layers=LAYERS, num_heads=HEADS, encoder_layers=LAYERS,
                 decoder_layers=LAYERS, encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=96, decoder_ffn_dim=96,
                 pad_token_id=0, bos_token_id=1, eos_token_id=2, ffn_dim=96)
    # a name of a configuration counts where it is one of its own: others go by what its class calls them
    known = set(vars(config())) | set(getattr(config, "__annotations__", {}))
    return {k: v for k, v in sizes.items() if k in known}


def build(f, attention):
    torch.manual_seed(0)
    config = getattr(t, f["config"])
    c = config(**{**common(config), **f["keys"]})
    c._attn_implementation = attention
    where = t if hasattr(t, f["model"]) else t.models.whisper.modeling_whisper
    model = getattr(where, f["model"])(c).eval()
    for name, p in model.named_parameters():
        if p.dim() > 1:
            p.data.normal_(0, 1.5 / p[0].numel() ** .5 if p.dim() == 2 and "emb" not in name else .5 / p[0].numel() ** .25)
        elif "norm" in name.lower() or "ln_" in name:
            p.data.uniform_(.5, 1.5) if name.endswith("weight") else p.data.normal_(0, .1)
        else:
            p.data.normal_(0, .1)
    return Wrapped(model, list(f["inputs"]), **f["options"])


def draw(f, seed, **sizes):
    torch.manual_seed(seed)
    return tuple(make(*(sizes[a] for a in axes)) for make, *axes in f["inputs"].values())


def export(f, module, how, path):
    given = draw(f, 1, batch=2, length=9, target=6, frames=11, samples=5)
    names = list(f["inputs"])
    if how == "script":
        axes = {n: {k: a for k, a in enumerate(rest)} for n, (_, *rest) in f["inputs"].items()}
        torch.onnx.export(module, given, path, dynamo=False, opset_version=17, input_names=names, output_names=["y"], dynamic_axes=axes)
    else:
        sizes = tuple({k: torch.export.Dim.DYNAMIC for k in range(len(rest))} for _, *rest in f["inputs"].values())
        torch.onnx.export(module, given, path, dynamo=True, dynamic_shapes=(sizes,), input_names=names, output_names=["y"], external_data=False,
                          verbose=False)


@contextlib.contextmanager
def quiet():
    """Exporters print whole graphs."""
    sys.stdout.flush(), sys.stderr.flush()
    kept = [os.dup(k) for k in (1, 2)]
    with open(os.devnull, "w") as nowhere:
        for k in (1, 2):
            os.dup2(nowhere.fileno(), k)
    try:
        yield
    finally:
        for k, was in zip((1, 2), kept):
            os.dup2(was, k)
            os.close(was)


def tenon(a, *words):
    return subprocess.run([a.tenon, *words], capture_output=True, text=True, timeout=300)


def complaint(r):
    lines = [line for line in r.stderr.split("\n") if line.strip() and "warning" not in line] or [f"exit code {r.returncode}"]
    return lines[0].replace("tenon: error: ", "")[:160]


class Wrong(Exception):
    pass


def error_of(a, f, module, path, folder):
    """The largest of two runs."""
    worst = 0
    for seed, sizes in enumerate((dict(batch=3, length=14, target=5, frames=7, samples=8), dict(batch=1, length=5, target=8, frames=16, samples=6))):
        given = draw(f, seed + 2, **sizes)
        with torch.no_grad():
            want = module(*given).numpy()
        words = []
        for name, x in zip(f["inputs"], given):
            np.save(os.path.join(folder, name + ".npy"), x.numpy())
            words += ["--input", f"{name}={folder}/{name}.npy"]
        out = os.path.join(folder, "out.npz")
        r = tenon(a, "run", path, "--device", "cpu", *words, "-o", out)
        if r.returncode:
            raise Wrong("run: " + complaint(r))
        got = np.load(out)
        got = got[got.files[0]]
        if got.shape != want.shape:
            raise Wrong(f"shape {got.shape}, not {want.shape}")
        e = float(np.abs(got - want).max() / np.sqrt((want.astype(np.float64) ** 2).mean()))
        worst = e if not e <= worst else worst  # NaN stays
    return worst


def look(a, name, how, attention):
    """A row of the table, and whether it is as it should be."""
    f = FAMILIES[name]
    row = dict(error="", found="", note="")
    with tempfile.TemporaryDirectory() as folder:
        if a.keep:
            os.makedirs(a.keep, exist_ok=True)
        path = os.path.join(a.keep or folder, f"{name}_{how}_{attention}.onnx")
        try:
            if not os.path.exists(path):
                with quiet():
                    export(f, build(f, attention), how, path)
            module = build(f, attention)  # again: one that was traced answers otherwise
        except Exception as e:
            return {**row, "note": "not exported: " + str(e).strip().split("\n")[0][:120]}, True
        try:
            e = error_of(a, f, module, path, folder)
            row["error"] = f"{e:.1e}"
            ok = e <= BOUND
            r = tenon(a, "opt", path, "--precision", "fp16", "-q")
            if r.returncode:
                raise Wrong("opt: " + complaint(r))
            found = len(re.findall(r" = attention ", r.stdout))
            row["found"] = f"{found}/{f['attentions']}"
            if found < f["attentions"]:
                row["note"] = "scores in memory: " + KNOWN.get((name, how), "")
                ok = ok and (name, how) in KNOWN
            r = tenon(a, "compile", path, "-o", os.path.join(folder, "plan"), "--precision", "fp16", "--target", "sm_90a", "--no-gpu", "-q")
            if r.returncode:
                raise Wrong("compile: " + complaint(r))
            return row, ok
        except (Wrong, subprocess.TimeoutExpired) as e:
            return {**row, "note": KNOWN.get((name, how), str(e)[:200])}, (name, how) in KNOWN


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tenon", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "tenon"))
    p.add_argument("--families", default=",".join(FAMILIES))
    p.add_argument("--exporter", default="dynamo,script")
    p.add_argument("--attention", default="sdpa,eager")
    p.add_argument("--keep", metavar="DIR", help="leave the models there, and take those that are there")
    a = p.parse_args()
    unknown = set(a.families.split(",")) - set(FAMILIES)
    if unknown:
        p.error("no such family: " + ", ".join(sorted(unknown)))
    print(f"{'family':16} {'exporter':8} {'scores':6} {'error':>8} {'found':>6}  note", flush=True)
    bad = 0
    for name in a.families.split(","):
        for how in a.exporter.split(","):
            for attention in a.attention.split(","):
                row, ok = look(a, name, how, attention)
                bad += not ok
                print(f"{name:16} {how:8} {attention:6} {row['error']:>8} {row['found']:>6}  {row['note']}{'' if ok else '   WRONG'}", flush=True)
    print(f"{bad} wrong")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
