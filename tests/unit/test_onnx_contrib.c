/* Operators of com.microsoft, of early exports, and of features and trees: what is refused, and what is said then; caches.  What they compute is in
 * onnx/contrib. */
#include "tests/onnx/devices.h"

/* A node whose inputs are "name:code:dims", those that are absent "-"; attributes are "name=4", "name=text" or
 * "name=[1,2]". */
static pb *node_of(const char *domain, const char *op, const char *inputs, const char *attributes, size_t results,
                   pb *g) {
    char in[512], at[512], word[24];
    snprintf(in, sizeof in, "%s", inputs);
    snprintf(at, sizeof at, "%s", attributes);
    pb *n = pb_new();
    for (char *s = strtok(in, " "); s; s = strtok(NULL, " ")) {
        char *code = strchr(s, ':'), *dims = code ? strchr(code + 1, ':') : NULL;
        if (code) *code++ = 0;
        if (dims) *dims++ = 0;
        pb_str(n, 1, dims ? s : "");
        if (dims) g_in(g, s, atoi(code), dims);
    }
    for (size_t k = 0; k < results; k++) {
        snprintf(word, sizeof word, "y%zu", k);
        pb_str(n, 2, word);
        g_out(g, word);
    }
    pb_str(n, 3, "the layer");
    pb_str(n, 4, op);
    pb_str(n, 7, domain);
    for (char *s = strtok(at, " "); s; s = strtok(NULL, " ")) {
        char *v = strchr(s, '=');
        *v++ = 0;
        if (*v == '[')
            v[strlen(v) - 1] = 0, at_ints(n, s, v + 1);
        else if ((*v >= '0' && *v <= '9') || *v == '-')
            at_int(n, s, atoll(v));
        else
            at_str(n, s, v);
    }
    return n;
}

static imported *import_node(const char *domain, const char *op, const char *inputs, const char *attributes,
                             size_t results) {
    pb *g = pb_new(), *n = node_of(domain, op, inputs, attributes, results, g);
    return import_with(pb_sub(mk_model(g_node(g, n), 17), 8, mk_opset("com.microsoft", 1)), NULL);
}

typedef struct row {
    const char *op, *inputs, *attributes, *why; /* why NULL: imported */
    size_t results;                             /* 0: one */
} row;

static const row rows[] = {
    {"Attention", "x:1:B,S,8 w:1:8,24", "num_heads=2", NULL, 0},
    {"Attention", "x:1:B,S,8", "num_heads=2", "input 1", 0},
    {"Attention", "x:1:B,S,8 w:1:8,24", "", "num_heads is 0", 0},
    {"Attention", "x:1:B,8 w:1:8,24", "num_heads=2", "the input must have rank 3", 0},
    {"Attention", "x:1:B,S,8 w:1:8,25", "num_heads=2", "axis 1 of the weights", 0},
    {"Attention", "x:1:B,S,8 w:1:8,24", "num_heads=3", "no whole number for each of 3 heads", 0},
    {"Attention", "x:1:B,S,8 w:1:7,24", "num_heads=2", "", 0},
    {"Attention", "x:1:B,S,8 w:1:8,24", "num_heads=2 qkv_hidden_sizes=[8,8]", "2 numbers; 3 are wanted", 0},
    {"Attention", "x:1:B,S,8 w:1:8,24", "num_heads=2 qkv_hidden_sizes=[8,4,12]", "queries of 8 and keys of 4", 0},
    {"Attention", "x:1:B,S,8 w:1:8,24", "num_heads=2 do_rotary=1 rotary_embedding_dim=6",
     "6 elements turn in heads of 4", 0},
    {"Attention", "x:1:B,S,8 w:1:8,24 - m:6:2,3,4,5,6", "num_heads=2", "a mask of rank 5", 0},
    {"Attention", "x:1:2,3,8 w:1:8,24 - m:6:2,4", "num_heads=2", "axis 1 of the mask", 0},
    {"Attention", "x:1:2,3,8 w:1:8,24 - m:6:7", "num_heads=2", "axis 0 of the mask", 0},
    {"Attention", "x:1:2,3,8 w:1:8,24 - - p:1:2,2,4", "num_heads=2", "the past 5", 2},
    {"Attention", "x:1:2,3,8 w:1:8,24 - - - a:1:3,3", "num_heads=2", "attention_bias has rank 2", 0},
    {"MultiHeadAttention", "q:1:B,S,8 k:1:B,T,8 v:1:B,T,8", "num_heads=2", NULL, 0},
    {"MultiHeadAttention", "q:1:B,S,8", "num_heads=2", "query of rank 3, key of 0, value of 0", 0},
    {"MultiHeadAttention", "q:1:B,S,8 k:1:B,T,8", "num_heads=2", "value of 0", 0},
    {"MultiHeadAttention", "q:1:2,3,2,2,4", "num_heads=2", "axis 3 of what is packed", 0},
    {"MultiHeadAttention", "q:1:2,3,8 k:1:2,3,8 v:1:2,3,8 b:1:20", "num_heads=2", "", 0},
    {"MultiHeadAttention", "q:1:2,3,8 k:1:2,3,8 v:1:2,3,8 - - - p:1:2,2,3,4", "num_heads=2", "come together", 0},
    {"MultiHeadAttention", "q:1:2,3,8 k:1:2,3,8 v:1:2,3,8 - - - p:1:2,2,5,4 r:1:2,2,5,4 n:6:1 c:6:2,1,5", "num_heads=2",
     "cache_indirection", 0},
    {"GroupQueryAttention", "q:1:B,S,16 k:1:B,S,8 v:1:B,S,8 - - n:6:B t:6:", "num_heads=2 kv_num_heads=1", NULL, 3},
    {"GroupQueryAttention", "q:1:B,S,16 k:1:B,S,8 v:1:B,S,8 - - n:6:B t:6:", "num_heads=3 kv_num_heads=2",
     "3 heads of queries, 2 of keys", 0},
    {"GroupQueryAttention", "q:1:B,S,16 k:1:B,S,8 v:1:B,S,8 - - n:6:B t:6:", "num_heads=2", "kv_num_heads is 0", 0},
    {"GroupQueryAttention", "q:1:B,S,16 k:1:B,S,8 - - - n:6:B t:6:", "num_heads=2 kv_num_heads=1", "value of 0", 0},
    {"GroupQueryAttention", "q:1:B,S,16 k:1:B,S,8 v:1:B,S,8 - - n:6:B t:6:", "num_heads=2 kv_num_heads=1 do_rotary=1",
     "input 7", 0},
    {"GroupQueryAttention", "q:1:B,S,16 k:1:B,S,8 v:1:B,S,8 - - n:6:B t:6:",
     "num_heads=2 kv_num_heads=1 local_window_size=4 causal=0", "local_window_size = 4 without causal", 0},
    {"GroupQueryAttention", "q:1:B,S,16 k:1:B,S,8 v:1:B,S,8 - - n:6:B t:6:",
     "num_heads=2 kv_num_heads=1 k_quant_type=PER_ROW", "k_quant_type = PER_ROW", 0},
    {"GroupQueryAttention", "q:1:B,S,16 k:1:B,S,8 v:1:B,S,8 p:3:B,1,P,8 r:3:B,1,P,8 n:6:B t:6:",
     "num_heads=2 kv_num_heads=1 k_quant_type=PER_TENSOR", "input 12", 0},
    {"GroupQueryAttention", "q:1:B,S,16 k:1:B,S,8 v:1:B,S,8 p:3:B,1,P,8 r:3:B,1,P,8 n:6:B t:6: - - - - - s:1:1 u:1:1",
     "num_heads=2 kv_num_heads=1 k_quant_type=PER_TENSOR kv_cache_bit_width=4", "a quantised cache of 4 bits in i8", 0},
    {"GroupQueryAttention", "q:1:B,S,16 k:1:B,S,8 v:1:B,S,8 - - n:6:B t:6:",
     "num_heads=2 kv_num_heads=1 sliding_window_cache=1 local_window_size=4", "sliding_window_cache goes with", 0},
    {"GroupQueryAttention", "q:1:B,S,16 k:1:B,S,8 v:1:B,S,8 p:1:B,1,3,8 r:1:B,1,3,8 n:6:B t:6:",
     "num_heads=2 kv_num_heads=1 sliding_window_cache=1 local_window_size=4", "a cache of 3 rows", 0},
    {"PackedMultiHeadAttention", "q:1:T,8 k:1:T,8 v:1:T,8 - o:6:B,S e:6:C", "num_heads=2", NULL, 0},
    {"PackedMultiHeadAttention", "q:1:T,8 k:1:T,8 v:1:T,8 - o:6:4 e:6:3", "num_heads=2", "token_offset of rank 1", 0},
    {"PackedMultiHeadAttention", "q:1:T,8 k:1:T,8 v:1:T,8 - o:6:2,4 e:6:4", "num_heads=2", "cumulative_sequence_length",
     0},
    {"PackedMultiHeadAttention", "q:1:T,8 - - - o:6:2,4 e:6:3", "num_heads=2", "query of rank 2, key of 0", 0},
    {"RotaryEmbedding", "x:1:B,S,16 p:7:B,S c:1:9,4 s:1:9,4", "", NULL, 0},
    {"RotaryEmbedding", "x:1:B,16 p:7:B,S c:1:9,4 s:1:9,4", "", "the input has rank 2", 0},
    {"RotaryEmbedding", "x:1:B,S,15 p:7:B,S c:1:9,4 s:1:9,4", "", "the size of a head is not known", 0},
    {"RotaryEmbedding", "x:1:B,S,16 p:7:B,S c:1:9,4 s:1:9,4", "num_heads=2 rotary_embedding_dim=4",
     "rotary_embedding_dim is 4, and the tables have 4 angles", 0},
    {"SkipLayerNormalization", "x:1:B,S,8 s:1:B,S,8", "", "input 2", 0},
    {"SkipLayerNormalization", "x:1:2,3,8 s:1:2,4,8 g:1:8", "", "axis 1 of skip", 0},
    {"SkipLayerNormalization", "x:1:1,3,8 s:1:2,3,8 g:1:8", "", "axis 0 of skip", 0},
    {"SkipLayerNormalization", "x:1:2,3,8 s:1:2,3,8 g:1:8 - b:1:4", "", "axis 0 of the bias", 0},
    {"SkipSimplifiedLayerNormalization", "x:1:2,3,8 s:1:2,3,8 g:1:8", "", "output mean", 2},
    {"EmbedLayerNormalization", "i:6:2,3 s:6:2,3 w:1:9,8 p:1:9,8 - g:1:8 b:1:8", "", "segments come with", 0},
    {"EmbedLayerNormalization", "i:6:2,3 - w:1:9 p:1:9,8 - g:1:8 b:1:8", "", "an embedding of rank 1", 0},
    {"FusedConv", "x:1:1,3,5,5 w:1:4,3,3,3", "activation=Sine", "activation 'Sine'", 0},
    {"FusedGemm", "a:1:2,3 b:1:3,4", "activation=Sine", "activation 'Sine'", 0},
    {"NhwcConv", "x:1:1,5,5,3 w:1:4,3,3", "", "input of rank 4 and weight of rank 3", 0},
    {"NhwcConv", "x:1:1,5,5,3 w:1:4,3,3,2", "", "", 0},
    {"MatMulNBits", "a:1:2,32 b:2:4,2,8 s:1:4,2", "N=4 K=32 block_size=16 bits=4", NULL, 0},
    {"MatMulNBits", "a:1:2,32 b:2:4,2,8 s:1:4,2", "N=4 K=32 block_size=16 bits=3", "weights of 3 bits", 0},
    {"MatMulNBits", "a:1:2,32 b:2:4,2,8 s:1:4,2", "N=4 K=32 block_size=24 bits=4", "block_size is 24", 0},
    {"MatMulNBits", "a:1:2,32 b:2:4,2,8 s:1:4,2", "N=4 K=33 block_size=16 bits=4", "axis 1 of A", 0},
    {"MatMulNBits", "a:1:2,32 b:2:4,2,7 s:1:4,2", "N=4 K=32 block_size=16 bits=4", "", 0},
    {"MatMulNBits", "a:1:2,32 b:2:4,2,8 s:1:4,3", "N=4 K=32 block_size=16 bits=4", "", 0},
    {"MatMulNBits", "a:1:2,32 b:1:4,2,8 s:1:4,2", "N=4 K=32 block_size=16 bits=4", "of f32; it must be of u8", 0},
    {"MatMulNBits", "a:1:2,32 b:2:4,2,8 s:1:4,2", "N=4 K=32 block_size=16 weight_prepacked=1", "weight_prepacked = 1",
     0},
    {"QLinearAdd", "a:2:4 s:1: z:2: b:2:4 t:1: u:2: v:1:3 w:2:", "", "a scale or zero point", 0},
    {"QLinearSigmoid", "a:2:4 s:1: z:2:", "", "input 3", 0},
    {"QLinearConcat", "s:1: z:2: a:2:4 t:1:", "axis=0", "4 inputs", 0},
    {"QLinearConcat", "s:1: z:2: a:2:4 t:1: u:2:", "axis=3", "axis", 0},
    {"QLinearAveragePool", "a:2:1,2,4,4 s:1: z:2: t:1: u:2:", "", "no kernel_shape", 0},
    {"DynamicQuantizeMatMul", "a:1:2,3 b:2:4,5 s:1:", "", "", 0},
    {"DynamicQuantizeMatMul", "a:1:2,3 b:2:3,5 s:1:4", "", "the scales or zero points", 0},
    {"MatMulIntegerToFloat", "a:2:2,3 b:2:3,5 s:1: t:1: - - c:1:5,5", "", "a bias of rank 2", 0},
    {"DynamicQuantizeLSTM", "x:1:T,B,3 w:2:1,3,16 r:2:1,4,16 - - - - - s:1:1 z:2:1 t:1:1 u:2:1", "hidden_size=4", NULL,
     3},
    {"DynamicQuantizeLSTM", "x:1:T,B,3 w:2:1,3,16 r:2:1,4,12 - - - - - s:1:1 z:2:1 t:1:1 u:2:1", "hidden_size=4",
     "axis 2 of the recurrent weight", 0},
    {"DynamicQuantizeLSTM", "x:1:T,B,3 w:2:1,3,16 r:2:1,4,16 - - - - - s:1:1 z:2:1", "hidden_size=4", "input 10", 0},
};

START_TEST(wrong_nodes_are_refused) {
    const row *r = &rows[_i];
    imported *i = import_node("com.microsoft", r->op, r->inputs, r->attributes, r->results ? r->results : 1);
    if (!r->why) {
        ck_assert_msg(i->g != NULL, "%s: %s", r->op, i->r.message);
        ck_assert_int_eq((int)tn_verify(i->g), TN_OK);
    } else {
        ck_assert_msg(i->g == NULL, "%s %s %s is imported", r->op, r->inputs, r->attributes);
        ck_assert_msg(strstr(i->r.message, "the layer") && strstr(i->r.message, r->why), "%s: %s, without %s", r->op,
                      i->r.message, r->why);
    }
    done(i);
}
END_TEST

static const row early[] = {
    {"Crop", "x:1:N,3,H,W", "border=[1,1,1,1]", NULL, 0},
    {"Crop", "x:1:N,3,H,W", "border=[1,1,1]", "3 borders (4)", 0},
    {"Crop", "x:1:N,3,H,W", "border=[1,-1,1,1]", "borders of -1", 0},
    {"Crop", "x:1:1,3,4,4", "border=[2,2,2,3]", "axis 2 of the input", 0},
    {"Crop", "x:1:1,3,4,4", "border=[1,1,0,0] scale=[4,2]", "axis 2 of the input", 0},
    {"ImageScaler", "x:1:3,4,4", "", "an input of rank 3", 0},
};

START_TEST(wrong_early_nodes_are_refused) {
    const row *r = &early[_i];
    imported *i = import_node("", r->op, r->inputs, r->attributes, 1);
    ck_assert_msg((i->g != NULL) == !r->why, "%s %s: %s", r->op, r->attributes, i->r.message);
    if (r->why) ck_assert_msg(strstr(i->r.message, r->why) != NULL, "%s: %s", r->op, i->r.message);
    done(i);
}
END_TEST

static const row grams[] = {
    {"TfIdfVectorizer", "x:6:N,L", "mode=TF ngram_counts=[0,1] ngram_indexes=[0,1] pool_int64s=[2,3,4]", NULL, 0},
    {"TfIdfVectorizer", "x:6:N,L", "mode=TF ngram_counts=[0,2] ngram_indexes=[0,1] pool_int64s=[2,3,4]",
     "ngram_counts that do not fit a pool of 3 items", 0},
    {"TfIdfVectorizer", "x:6:N,L", "mode=TF ngram_counts=[0,1] ngram_indexes=[0] pool_int64s=[2,3,4]",
     "2 n-grams of up to 2 items have 1 indexes", 0},
    {"TfIdfVectorizer", "x:6:N,L", "mode=TF ngram_counts=[0] ngram_indexes=[0,0] pool_int64s=[2,3]",
     "two n-grams have the index 0", 0},
    {"TfIdfVectorizer", "x:6:N,L", "mode=TF ngram_counts=[0] ngram_indexes=[-1] pool_int64s=[2]", "the index -1", 0},
    {"TfIdfVectorizer", "x:6:N,L", "mode=FT ngram_counts=[0] ngram_indexes=[0] pool_int64s=[2]", "the mode 'FT'", 0},
    {"TfIdfVectorizer", "x:6:B,N,L", "mode=TF ngram_counts=[0] ngram_indexes=[0] pool_int64s=[2]", "an input of rank 3",
     0},
};

START_TEST(wrong_n_grams_are_refused) {
    const row *r = &grams[_i];
    imported *i = import_node("", r->op, r->inputs, r->attributes, 1);
    ck_assert_msg((i->g != NULL) == !r->why, "%s: %s", r->attributes, i->r.message);
    if (r->why) ck_assert_msg(strstr(i->r.message, r->why) != NULL, "%s, without %s", i->r.message, r->why);
    done(i);
}
END_TEST

typedef struct forest {
    uint8_t mode; /* of both nodes */
    const char *features, *yes, *yes_leaf, *no, *no_leaf, *targets, *roots, *why;
} forest;

static const forest forests[] = {
    {0, "0,1", "1,0", "0,1", "2,1", "1,1", "0,0,0", "0", NULL},
    {0, "0,1", "1,0", "0,1", "2,1", "1,1", "0,0,0", "0,1", NULL},
    {0, "0", "1,0", "0,1", "2,1", "1,1", "0,0,0", "0", "nodes_falsenodeids has 2 elements, not 1"},
    {0, "0,1", "1,0", "0,1", "3,1", "1,1", "0,0,0", "0", "node 0 leads to the leaf 3 of 3"},
    {0, "0,1", "1,2", "0,0", "2,1", "1,1", "0,0,0", "0", "node 1 leads to the node 2 of 2"},
    {0, "0,1", "1,0", "0,0", "2,1", "1,1", "0,0,0", "0", "nodes that lead back to themselves"},
    {0, "0,1", "1,0", "0,1", "2,1", "1,1", "0,0,1", "0", "leaf 2 has the target 1 of 1"},
    {0, "0,1", "1,0", "0,1", "2,1", "1,1", "0,0", "0", "leaf_weights has 3 elements, not 2"},
    {0, "0,1", "1,0", "0,1", "2,1", "1,1", "0,0,0", "2", "tree 0 begins at the node 2 of 2"},
    {0, "0,1", "1,0", "0,1", "2,1", "1,1", "0,0,0", "", "no tree_roots"},
    {0, "0,-1", "1,0", "0,1", "2,1", "1,1", "0,0,0", "0", "node 1 has the feature -1"},
    {0, "0,3", "1,0", "0,1", "2,1", "1,1", "0,0,0", "0", "the features"},
    {6, "0,1", "1,0", "0,1", "2,1", "1,1", "0,0,0", "0", "membership_values holds 0 sets for 2 nodes"},
    {7, "0,1", "1,0", "0,1", "2,1", "1,1", "0,0,0", "0", "node 0 has the mode 7"},
};

START_TEST(wrong_trees_are_refused) {
    const forest *f = &forests[_i];
    const float splits[] = {1, 2}, weights[] = {1, 2, 3};
    const uint8_t modes[] = {f->mode, f->mode};
    pb *n = pb_str(mk_node("TreeEnsemble", "x", "y"), 7, "ai.onnx.ml"), *g = pb_new();
    at_ints(at_ints(n, "nodes_featureids", f->features), "leaf_targetids", f->targets);
    at_ints(at_ints(n, "nodes_truenodeids", f->yes), "nodes_trueleafs", f->yes_leaf);
    at_ints(at_ints(n, "nodes_falsenodeids", f->no), "nodes_falseleafs", f->no_leaf);
    at_tensor(n, "nodes_modes", mk_tensor("", 2, "2", modes, sizeof modes));
    at_tensor(n, "nodes_splits", mk_tensor("", 1, "2", splits, sizeof splits));
    at_tensor(n, "leaf_weights", mk_tensor("", 1, "3", weights, sizeof weights));
    g_node(g, at_int(at_ints(n, "tree_roots", f->roots), "n_targets", 1));
    g_in(g, "x", 1, "N,3");
    imported *i = import_with(pb_sub(mk_model(g_out(g, "y"), 17), 8, mk_opset("ai.onnx.ml", 5)), NULL);
    ck_assert_msg((i->g != NULL) == !f->why, "%s", i->r.message);
    if (f->why) ck_assert_msg(strstr(i->r.message, f->why) != NULL, "%s, without %s", i->r.message, f->why);
    done(i);
}
END_TEST

/* ---- caches ------------------------------------------------------------------------------------------------------ */

/* What is new does not fit behind what is there: data tells, so that a run says it, with the layer. */
START_TEST(a_full_cache_is_an_error) {
    static const double ones[64] = {1}, used[] = {3};
    imported *i = import_node("com.microsoft", "MultiHeadAttention",
                              "q:1:1,2,4 k:1:1,2,4 v:1:1,2,4 - - - p:1:1,1,4,4 r:1:1,1,4,4 n:6:1", "num_heads=1", 3);
    const tensor in[] = {{TN_F32, 3, DIMS(1, 2, 4), ones},    {TN_F32, 3, DIMS(1, 2, 4), ones},
                         {TN_F32, 3, DIMS(1, 2, 4), ones},    {TN_F32, 4, DIMS(1, 1, 4, 4), ones},
                         {TN_F32, 4, DIMS(1, 1, 4, 4), ones}, {TN_I32, 1, DIMS(1), used}};
    tn_tensor t[6], out[3] = {{.dtype = TN_DTYPE_NONE}};
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    for (size_t k = 0; k < 6; k++) {
        t[k] = (tn_tensor){.dtype = in[k].dtype, .rank = in[k].rank, .data = tensor_bytes(&in[k])};
        for (uint32_t d = 0; d < in[k].rank; d++) t[k].dims[d] = in[k].dims[d];
        t[k].bytes = tn_dtype_bytes(in[k].dtype, tensor_numel(&in[k]));
    }
    ck_assert_int_ne(tn_eval_graph(&i->env, i->g, t, 6, out, 3, NULL), TN_OK);
    ck_assert_msg(strstr(i->r.message, "the layer") && strstr(i->r.message, "out of range"), "%s", i->r.message);
    for (size_t k = 0; k < 6; k++) free(t[k].data);
    done(i);
}
END_TEST

/* Caches that a concat makes longer grow in the caller's buffer. */
START_TEST(a_growing_cache_shares_its_buffer) {
    imported *i =
        import_node("com.microsoft", "MultiHeadAttention",
                    "q:1:B,1,8 k:1:B,1,8 v:1:B,1,8 - - - p:1:B,2,P,4 r:1:B,2,P,4", "num_heads=2 unidirectional=1", 3);
    const tn_shape_override shapes[] = {{.input = "p", .rank = 4, .dims = {-1, -1, 0, -1}, .most = {0, 0, 15, 0}}};
    const char *const pairs[] = {"p=y1", "r=y2"};
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ck_assert_msg(tn_graph_give_shapes(i->g, shapes, 1) == TN_OK, "%s", i->r.message);
    ck_assert_msg(tn_graph_alias(i->g, pairs, 2) == TN_OK, "%s", i->r.message);
    ck_assert_uint_eq(nodes_of(i, TN_OP_APPEND), 2);
    done(i);
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_contrib");
    TCase *t = tcase_create("onnx_contrib");
    tcase_add_loop_test(t, wrong_nodes_are_refused, 0, (int)(sizeof rows / sizeof *rows));
    tcase_add_loop_test(t, wrong_early_nodes_are_refused, 0, (int)(sizeof early / sizeof *early));
    tcase_add_loop_test(t, wrong_n_grams_are_refused, 0, (int)(sizeof grams / sizeof *grams));
    tcase_add_loop_test(t, wrong_trees_are_refused, 0, (int)(sizeof forests / sizeof *forests));
    tcase_add_test(t, a_full_cache_is_an_error);
    tcase_add_test(t, a_growing_cache_shares_its_buffer);
    suite_add_tcase(s, t);
    return run_suite(s);
}
