"""Models with random weights (fixed seed) and random inputs, for the benchmarks.

    model, inputs = zoo.make("bert_base_128", batch=8)

torchvision's classifiers by their names, and transformers by name and length: bert_base_N, bert_large_N, gpt2_N, llama_1b_N
(logits of all N tokens, no cache), and whisper_small_N, the encoder, which answers N / 2 vectors to N frames of audio."""
import torch


class First(torch.nn.Module):
    """The first of a model's outputs."""

    def __init__(self, m, **options):
        super().__init__()
        self.m, self.options = m, options

    def forward(self, x):
        return self.m(x, return_dict=False, **self.options)[0]


def bert(hidden, layers, heads):
    import transformers as t
    c = t.BertConfig(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * hidden)
    return First(t.BertModel(c, add_pooling_layer=False)), tokens(c.vocab_size)


def gpt2():
    import transformers as t
    c = t.GPT2Config()
    return First(t.GPT2LMHeadModel(c), use_cache=False), tokens(c.vocab_size)


def llama_1b():
    import transformers as t
    c = t.LlamaConfig(hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8,
                      intermediate_size=8192, vocab_size=128256, max_position_embeddings=8192)
    return First(t.LlamaForCausalLM(c), use_cache=False), tokens(c.vocab_size)


def whisper_small():
    import transformers as t
    c = t.WhisperConfig(d_model=768, encoder_layers=12, encoder_attention_heads=12, encoder_ffn_dim=3072)
    m = t.WhisperModel(c).encoder
    return First(m), lambda batch, n: torch.randn(batch, c.num_mel_bins, n)


def tokens(vocabulary):
    return lambda batch, n: torch.randint(0, vocabulary, (batch, n))


MODELS = {"bert_base": lambda: bert(768, 12, 12), "bert_large": lambda: bert(1024, 24, 16), "gpt2": gpt2, "llama_1b": llama_1b,
          "whisper_small": whisper_small}


def vision(name):
    import torchvision
    kw = {"init_weights": True, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    return getattr(torchvision.models, name)(weights=None, **kw)


def draw(model):
    """What begins as nothing, or as one, is drawn: folding is tested, and no head answers 0 to everything."""
    for b in model.modules():
        if isinstance(b, torch.nn.BatchNorm2d):
            b.running_mean.normal_(0, .1)
            b.running_var.uniform_(.5, 1.5)
            b.weight.data.uniform_(.5, 1.5)
            b.bias.data.normal_(0, .1)
    for p in model.parameters():
        if not p.any():
            p.data.normal_(0, .02)


def make(name, batch):
    """A model in float32 for inference, and its input of this batch."""
    torch.manual_seed(0)
    stem, _, length = name.rpartition("_")
    if stem in MODELS and length.isdigit():
        model, inputs = MODELS[stem]()
        x = inputs(batch, int(length))
    else:
        model, x = vision(name), torch.randn(batch, 3, 224, 224)
    model = model.eval()
    draw(model)
    return model, x


def to_device(model, x, dtype):
    """Both on the GPU, in this dtype; images channels-last, as PyTorch is fastest."""
    model = model.to("cuda", dtype)
    x = x.cuda().to(dtype) if x.is_floating_point() else x.cuda()
    if x.dim() == 4:
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    return model, x
