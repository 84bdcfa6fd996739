/* Type rules: result types with symbolic sizes, and refusals that say what is wrong. */
#include "semantics.h"
#include "tests/unit/suite.h"

static tn_val input_of(bench *b, tn_dtype t, size_t rank, const tn_dim *dims) {
    char name[16];
    static unsigned count;
    snprintf(name, sizeof name, "v%u", count++);
    tn_val v = tn_graph_add_input(b->g, name, tn_type_make(b->g, t, rank, dims));
    ck_assert_uint_ne(v.i, 0);
    return v;
}

/* An input from text such as "f32[N,3,H*2]". */
static tn_val in(bench *b, const char *text) {
    const char *open = strchr(text, '['), *p = open + 1;
    tn_dtype t = tn_dtype_parse(text, (size_t)(open - text));
    tn_dim dims[TN_MAX_RANK];
    size_t rank = 0;
    while (*p != ']') {
        dims[rank] = tn_dim_parse(b->g, p, &p);
        ck_assert_msg(dims[rank].i != 0, "cannot read %s", text);
        rank++;
        if (*p == ',') p++;
    }
    return input_of(b, t, rank, dims);
}

static void expect_type(bench *b, tn_node n, size_t k, const char *want) {
    char text[200];
    ck_assert_msg(n.i != 0, "refused: %s", b->message);
    tn_type_print(b->g, tn_val_type(b->g, tn_node_result(b->g, n, k)), text, sizeof text);
    ck_assert_str_eq(text, want);
}

#define EMIT(b, op, attrs, ...)                                                                                        \
    tn_emit((b)->g, TN_OP_##op, attrs, sizeof((tn_val[]){__VA_ARGS__}) / sizeof(tn_val), (tn_val[]){__VA_ARGS__})

/* The op is refused with a message that holds every given text. */
static void expect_refused(bench *b, tn_op op, const void *attrs, size_t n, const tn_val *vals,
                           const char *const *texts) {
    tn_type types[8];
    size_t n_types = 0;
    b->message[0] = 0;
    tn_status s = tn_infer(b->g, op, attrs, n, vals, 0, NULL, types, 8, &n_types);
    ck_assert_msg(s == TN_E_TYPE, "%s: status %s", tn_op_text(op), tn_status_text(s));
    ck_assert_int_eq(tn_graph_status(b->g), TN_OK);
    for (; *texts; texts++) ck_assert_msg(strstr(b->message, *texts), "\"%s\" does not say \"%s\"", b->message, *texts);
}

#define REFUSED(b, op, attrs, vals, ...)                                                                               \
    expect_refused(b, TN_OP_##op, attrs, sizeof(vals) / sizeof(tn_val), vals, (const char *const[]){__VA_ARGS__, NULL})
#define V(...) ((tn_val[]){__VA_ARGS__})

START_TEST(test_broadcasting) {
    bench b;
    bench_open(&b);
    expect_type(&b, EMIT(&b, ADD, NULL, in(&b, "f32[N,1,5]"), in(&b, "f32[4,1]")), 0, "f32[N,4,5]");
    expect_type(&b, EMIT(&b, MUL, NULL, in(&b, "i64[]"), in(&b, "i64[2,H]")), 0, "i64[2,H]");
    expect_type(&b, EMIT(&b, ADD, NULL, in(&b, "f32[N]"), in(&b, "f32[7]")), 0, "f32[7]");
    expect_type(&b, EMIT(&b, ADD, NULL, in(&b, "f32[N]"), in(&b, "f32[M]")), 0, "f32[bcast(M, N)]");
    expect_type(&b, EMIT(&b, LT, NULL, in(&b, "f16[N,2]"), in(&b, "f16[2]")), 0, "bool[N,2]");
    expect_type(&b, EMIT(&b, SELECT, NULL, in(&b, "bool[N,1]"), in(&b, "f32[3]"), in(&b, "f32[]")), 0, "f32[N,3]");
    expect_type(&b, EMIT(&b, POW, NULL, in(&b, "f32[N]"), in(&b, "i64[]")), 0, "f32[N]");
    REFUSED(&b, ADD, NULL, V(in(&b, "f32[2,3]"), in(&b, "f32[2]")), "broadcast", "3", "2");
    REFUSED(&b, ADD, NULL, V(in(&b, "f32[2]"), in(&b, "f16[2]")), "f32", "f16", "cast");
    REFUSED(&b, ADD, NULL, V(in(&b, "bool[2]"), in(&b, "bool[2]")), "bool");
    REFUSED(&b, SHL, NULL, V(in(&b, "f32[2]"), in(&b, "f32[2]")), "integer");
    REFUSED(&b, AND, NULL, V(in(&b, "f32[2]"), in(&b, "f32[2]")), "bool or an integer");
    REFUSED(&b, SELECT, NULL, V(in(&b, "f32[2]"), in(&b, "f32[2]"), in(&b, "f32[2]")), "bool");
    REFUSED(&b, PRELU, NULL, V(in(&b, "f32[2,3]"), in(&b, "f32[2]")), "(2) does not broadcast to axis 1 of", "(3)");
    REFUSED(&b, EXP, NULL, V(in(&b, "i32[2]")), "floating point");
    REFUSED(&b, NOT, NULL, V(in(&b, "i32[2]")), "bool");
    bench_close(&b);
}
END_TEST

START_TEST(test_conv) {
    const int64_t s2[] = {2, 2}, p[] = {3, 3, 3, 3}, bad[] = {1}, negative[] = {-1, 0, 0, 0}, zero[] = {0, 1};
    tn_attrs_conv a = {.strides = {s2, 2}, .pads = {p, 4}};
    bench b;
    bench_open(&b);
    tn_val w = in(&b, "f32[64,3,7,7]");
    expect_type(&b, EMIT(&b, CONV, &a, in(&b, "f32[N,3,224,224]"), w), 0, "f32[N,64,112,112]");
    expect_type(&b, EMIT(&b, CONV, &a, in(&b, "f32[1,3,2*H,32]"), w, in(&b, "f32[64]")), 0, "f32[1,64,H,16]");
    expect_type(&b, EMIT(&b, CONV, NULL, in(&b, "f16[N,C,L]"), in(&b, "f16[8,C,3]")), 0, "f16[N,8,L - 2]");
    tn_attrs_conv nhwc = {.layout = "nhwc", .groups = 4};
    expect_type(&b, EMIT(&b, CONV, &nhwc, in(&b, "f32[N,8,9,4]"), in(&b, "f32[12,3,3,1]")), 0, "f32[N,6,7,12]");
    REFUSED(&b, CONV, NULL, V(in(&b, "f32[1,3,9,9]"), in(&b, "f32[8,4,3,3]")), "conv", "axis 1 of", "(3) and axis 1 of",
            "(4) differ");
    REFUSED(&b, CONV, NULL, V(in(&b, "f32[1,3,2,9]"), in(&b, "f32[8,3,3,3]")), "axis 2 of",
            "(2) is below what the kernel spans (3)", "3", "2");
    REFUSED(&b, CONV, NULL, V(in(&b, "f32[1,3,9]"), in(&b, "f32[8,3,3,3]")), "ranks differ");
    REFUSED(&b, CONV, NULL, V(in(&b, "f32[1,3]"), in(&b, "f32[8,3]")), "rank 2");
    REFUSED(&b, CONV, NULL, V(in(&b, "f32[1,3,9,9]"), in(&b, "f16[8,3,3,3]")), "f16");
    REFUSED(&b, CONV, NULL, V(in(&b, "f32[1,3,9,9]"), in(&b, "f32[8,3,3,3]"), in(&b, "f32[7]")),
            "(7) and the output channels (8)");
    a = (tn_attrs_conv){.strides = {bad, 1}};
    REFUSED(&b, CONV, &a, V(in(&b, "f32[1,3,9,9]"), in(&b, "f32[8,3,3,3]")), "strides has 1 elements; it needs 2");
    a = (tn_attrs_conv){.strides = {zero, 2}};
    REFUSED(&b, CONV, &a, V(in(&b, "f32[1,3,9,9]"), in(&b, "f32[8,3,3,3]")), "strides[0] is 0");
    a = (tn_attrs_conv){.pads = {negative, 4}};
    REFUSED(&b, CONV, &a, V(in(&b, "f32[1,3,9,9]"), in(&b, "f32[8,3,3,3]")), "pads[0] is -1");
    a = (tn_attrs_conv){.groups = 2};
    REFUSED(&b, CONV, &a, V(in(&b, "f32[1,3,9,9]"), in(&b, "f32[8,1,3,3]")),
            "(3) is not divisible by the number of groups (2)");
    a = (tn_attrs_conv){.layout = "nchw4"};
    REFUSED(&b, CONV, &a, V(in(&b, "f32[1,3,9,9]"), in(&b, "f32[8,3,3,3]")), "nchw4");
    bench_close(&b);
}
END_TEST

START_TEST(test_windows) {
    const int64_t s[] = {2, 2}, k[] = {3, 3}, o[] = {1, 1}, p[] = {1, 1, 1, 1};
    bench b;
    bench_open(&b);
    tn_attrs_conv_transpose t = {.strides = {s, 2}, .output_pads = {o, 2}, .pads = {p, 4}};
    expect_type(&b, EMIT(&b, CONV_TRANSPOSE, &t, in(&b, "f32[1,4,H,8]"), in(&b, "f32[4,6,3,3]")), 0, "f32[1,6,H*2,16]");
    tn_attrs_pool a = {.kernel = {k, 2}, .strides = {s, 2}};
    expect_type(&b, EMIT(&b, MAX_POOL, &a, in(&b, "f32[N,4,8,9]")), 0, "f32[N,4,3,4]");
    a.ceil_mode = true;
    expect_type(&b, EMIT(&b, AVG_POOL, &a, in(&b, "f32[N,4,8,9]")), 0, "f32[N,4,4,4]");
    a.pads = (tn_ints){p, 4}; /* a window that would start in the padding after the input is dropped */
    expect_type(&b, EMIT(&b, MAX_POOL, &a, in(&b, "f32[N,4,8,8]")), 0, "f32[N,4,5,5]");
    a.layout = "nhwc";
    expect_type(&b, EMIT(&b, MAX_POOL, &a, in(&b, "f32[N,8,8,4]")), 0, "f32[N,5,5,4]");
    a = (tn_attrs_pool){.strides = {s, 2}};
    REFUSED(&b, MAX_POOL, &a, V(in(&b, "f32[1,1,8,8]")), "kernel has 0 elements");
    bench_close(&b);
}
END_TEST

START_TEST(test_matmul) {
    bench b;
    bench_open(&b);
    tn_attrs_matmul t = {.trans_a = true, .trans_b = true};
    expect_type(&b, EMIT(&b, MATMUL, NULL, in(&b, "f32[N,1,T,64]"), in(&b, "f32[8,64,S]")), 0, "f32[N,8,T,S]");
    expect_type(&b, EMIT(&b, MATMUL, &t, in(&b, "f16[5,M]"), in(&b, "f16[7,5]")), 0, "f16[M,7]");
    REFUSED(&b, MATMUL, NULL, V(in(&b, "f32[2,3]"), in(&b, "f32[4,5]")), "axis 1 of", "(3) and axis 0 of",
            "(4) differ");
    REFUSED(&b, MATMUL, NULL, V(in(&b, "f32[2,2,3]"), in(&b, "f32[3,3,5]")), "axis 0 of", "do not broadcast");
    REFUSED(&b, MATMUL, NULL, V(in(&b, "f32[3]"), in(&b, "f32[3,5]")), "rank");
    tn_attrs_matmul m = {.math = "f12"};
    REFUSED(&b, MATMUL, &m, V(in(&b, "f32[2,3]"), in(&b, "f32[3,5]")), "f12");
    bench_close(&b);
}
END_TEST

START_TEST(test_products_of_bytes) {
    bench b;
    bench_open(&b);
    const tn_attrs_matmul m = {.math = "i32"};
    const tn_attrs_conv c = {.math = "i32", .layout = "nchw"};
    expect_type(&b, EMIT(&b, MATMUL, &m, in(&b, "u8[M,3]"), in(&b, "i8[3,5]")), 0, "i32[M,5]");
    REFUSED(&b, MATMUL, &m, V(in(&b, "i32[2,3]"), in(&b, "i8[3,5]")), "i32 and i8");
    REFUSED(&b, MATMUL, NULL, V(in(&b, "u8[2,3]"), in(&b, "i8[3,5]")), "u8", "i8");
    const tn_val x = in(&b, "i8[1,2,4,4]"), w = in(&b, "u8[6,2,3,3]");
    expect_type(&b, EMIT(&b, CONV, &c, x, w, in(&b, "i32[6]")), 0, "i32[1,6,2,2]");
    REFUSED(&b, CONV, &c, V(x, w, in(&b, "i8[6]")), "the bias is i8; it must be i32");
    bench_close(&b);
}
END_TEST

START_TEST(test_movement) {
    bench b;
    bench_open(&b);
    tn_graph *g = b.g;
    tn_dim n = tn_dim_sym(g, "N"), c0 = tn_dim_const(g, 0), c1 = tn_dim_const(g, 1), c2 = tn_dim_const(g, 2),
           c4 = tn_dim_const(g, 4), c9 = tn_dim_const(g, 9);
    tn_val x = in(&b, "f32[N,4,6]");
    tn_dim flat[] = {n, tn_dim_const(g, 24)}, wrong[] = {n, tn_dim_const(g, 25)};
    expect_type(&b, EMIT(&b, RESHAPE, (&(tn_attrs_shape){.dims = {flat, 2}}), x), 0, "f32[N,24]");
    REFUSED(&b, RESHAPE, (&(tn_attrs_shape){.dims = {wrong, 2}}), V(x), "numbers of elements differ");
    const int64_t perm[] = {2, 0, 1}, twice[] = {0, 0, 1};
    expect_type(&b, EMIT(&b, TRANSPOSE, (&(tn_attrs_perm){.perm = {perm, 3}}), x), 0, "f32[6,N,4]");
    REFUSED(&b, TRANSPOSE, (&(tn_attrs_perm){.perm = {twice, 3}}), V(x), "permutation");
    REFUSED(&b, TRANSPOSE, (&(tn_attrs_perm){.perm = {perm, 2}}), V(x), "perm has 2 elements");
    tn_dim big[] = {c2, n, c4, tn_dim_const(g, 6)};
    expect_type(&b, EMIT(&b, BROADCAST, (&(tn_attrs_shape){.dims = {big, 4}}), x), 0, "f32[2,N,4,6]");
    REFUSED(&b, BROADCAST, (&(tn_attrs_shape){.dims = {(tn_dim[]){n, c2, tn_dim_const(g, 6)}, 3}}), V(x), "axis 1");
    const int64_t steps[] = {1, -1, 2};
    tn_dim starts[] = {c0, tn_dim_const(g, 3), c0}, sizes[] = {n, c4, tn_dim_const(g, 3)}, too_many[] = {n, c4, c4};
    expect_type(
        &b, EMIT(&b, SLICE, (&(tn_attrs_slice){.starts = {starts, 3}, .sizes = {sizes, 3}, .steps = {steps, 3}}), x), 0,
        "f32[N,4,3]");
    REFUSED(&b, SLICE, (&(tn_attrs_slice){.starts = {starts, 3}, .sizes = {too_many, 3}, .steps = {steps, 3}}), V(x),
            "axis 2", "outside");
    tn_dim pads[] = {c0, c1, c2};
    expect_type(&b, EMIT(&b, PAD, (&(tn_attrs_pad){.before = {pads, 3}, .after = {pads, 3}}), x), 0, "f32[N,6,10]");
    REFUSED(&b, PAD, (&(tn_attrs_pad){.before = {pads, 3}, .after = {pads, 3}, .mode = "mirror"}), V(x), "mirror");
    expect_type(&b, EMIT(&b, CONCAT, (&(tn_attrs_axis){.axis = 1}), x, in(&b, "f32[N,M,6]")), 0, "f32[N,M + 4,6]");
    REFUSED(&b, CONCAT, (&(tn_attrs_axis){.axis = 1}), V(x, in(&b, "f32[N,4,7]")), "axis 2 of", "(6) and axis 2 of",
            "(7) differ");
    REFUSED(&b, CONCAT, (&(tn_attrs_axis){.axis = 3}), V(x, x), "axis 3");
    expect_type(&b, EMIT(&b, GATHER, (&(tn_attrs_axis){.axis = 1}), x, in(&b, "i64[M,2]")), 0, "f32[N,M,2,6]");
    REFUSED(&b, GATHER, (&(tn_attrs_axis){.axis = 1}), V(x, in(&b, "f32[2]")), "integer");
    expect_type(&b, EMIT(&b, GATHER_ND, (&(tn_attrs_gather_nd){.batch_dims = 1}), x, in(&b, "i64[N,5,1]")), 0,
                "f32[N,5,6]");
    REFUSED(&b, GATHER_ND, (&(tn_attrs_gather_nd){.batch_dims = 1}), V(x, in(&b, "i64[N,5,3]")), "length 3");
    expect_type(&b,
                EMIT(&b, SPLIT, (&(tn_attrs_split){.axis = 1, .sizes = {(tn_dim[]){c1, tn_dim_const(g, 3)}, 2}}), x), 1,
                "f32[N,3,6]");
    REFUSED(&b, SPLIT, (&(tn_attrs_split){.axis = 1, .sizes = {(tn_dim[]){c1, c2}, 2}}), V(x), "sum of the sizes", "3",
            "4");
    expect_type(&b, EMIT(&b, SPACE_TO_DEPTH, (&(tn_attrs_depth){.block = 2}), in(&b, "f32[N,3,8,2*W]")), 0,
                "f32[N,12,4,W]");
    REFUSED(&b, SPACE_TO_DEPTH, (&(tn_attrs_depth){.block = 2}), V(in(&b, "f32[N,3,7,8]")), "axis 2 of",
            "(7) is not divisible by 2");
    REFUSED(&b, DEPTH_TO_SPACE, (&(tn_attrs_depth){.block = 2}), V(in(&b, "f32[N,6,7,8]")),
            "(6) is not divisible by 4");
    tn_dim to[] = {n, c4, c9};
    expect_type(&b, EMIT(&b, RESIZE, (&(tn_attrs_resize){.sizes = {to, 3}, .mode = "linear"}), x), 0, "f32[N,4,9]");
    REFUSED(&b, RESIZE, (&(tn_attrs_resize){.sizes = {to, 3}, .mode = "bicubic"}), V(x), "bicubic");
    REFUSED(&b, RESIZE, (&(tn_attrs_resize){.sizes = {to, 2}}), V(x), "2 sizes");
    bench_close(&b);
}
END_TEST

START_TEST(test_indexing_by_data) {
    bench b;
    bench_open(&b);
    tn_dim c2 = tn_dim_const(b.g, 2), c5 = tn_dim_const(b.g, 5);
    tn_val x = in(&b, "f32[N,4,6]"), i = in(&b, "i64[N,9,6]"), u = in(&b, "f32[N,9,6]");
    tn_attrs_scatter add = {.axis = 1, .reduction = "add"}, nd = {0};
    expect_type(&b, EMIT(&b, SCATTER_ELEMENTS, &add, x, i, u), 0, "f32[N,4,6]");
    REFUSED(&b, SCATTER_ELEMENTS, &add, V(x, in(&b, "f32[N,9,6]"), u), "integer");
    REFUSED(&b, SCATTER_ELEMENTS, &add, V(x, i, in(&b, "f16[N,9,6]")), "f16");
    REFUSED(&b, SCATTER_ELEMENTS, &add, V(x, i, in(&b, "f32[N,8,6]")), "axis 1 of", "(9) and axis 1 of", "(8) differ");
    REFUSED(&b, SCATTER_ELEMENTS, &add, V(x, in(&b, "i64[N,9,7]"), in(&b, "f32[N,9,7]")), "axis 2 of",
            "(6) is below axis 2 of", "(7)");
    REFUSED(&b, SCATTER_ELEMENTS, (&(tn_attrs_scatter){.reduction = "sum"}), V(x, i, u), "\"sum\"");
    REFUSED(&b, SCATTER_ELEMENTS, &add, V(in(&b, "bool[N,4,6]"), i, in(&b, "bool[N,9,6]")), "bool");
    expect_type(&b, EMIT(&b, SCATTER_ND, &nd, x, in(&b, "i64[M,7,2]"), in(&b, "f32[M,7,6]")), 0, "f32[N,4,6]");
    REFUSED(&b, SCATTER_ND, &nd, V(x, in(&b, "i64[M,7,4]"), in(&b, "f32[M,7]")), "length 4");
    REFUSED(&b, SCATTER_ND, &nd, V(x, in(&b, "i64[M,7,2]"), in(&b, "f32[M,7]")), "rank 2; 3");
    REFUSED(&b, SCATTER_ND, &nd, V(x, in(&b, "i64[M,7,2]"), in(&b, "f32[M,7,5]")), "axis 2 of", "(5)", "6");
    REFUSED(&b, SCATTER_ND, &nd, V(x, in(&b, "i64[M,K]"), u), "symbolic");
    expect_type(&b, EMIT(&b, TOP_K, (&(tn_attrs_top_k){.axis = 1, .k = c2}), x), 0, "i64[N,2,6]");
    REFUSED(&b, TOP_K, (&(tn_attrs_top_k){.axis = 1, .k = c5}), V(x), "axis 1 of", "(4) is below k (5)");
    REFUSED(&b, TOP_K, (&(tn_attrs_top_k){.axis = 3, .k = c2}), V(x), "axis 3");
    REFUSED(&b, TOP_K, (&(tn_attrs_top_k){.axis = 1}), V(x), "k is not set");
    tn_attrs_nonzero count = {.count = tn_dim_sym(b.g, "K")}, four = {.count = tn_dim_const(b.g, 4)};
    expect_type(&b, EMIT(&b, NONZERO, &count, in(&b, "bool[N]")), 0, "i64[K]");
    REFUSED(&b, NONZERO, &count, V(x), "rank 3; it must be a vector");
    REFUSED(&b, NONZERO, &four, V(in(&b, "bool[N]")), "symbol");
    tn_attrs_size size = {.count = tn_dim_sym(b.g, "S"), .most = tn_dim_sym(b.g, "N")}, none = {.count = size.count};
    expect_type(&b, EMIT(&b, SIZE, &size, in(&b, "i64[]")), 0, "i64[]");
    REFUSED(&b, SIZE, &size, V(in(&b, "i64[1]")), "i64 scalar");
    REFUSED(&b, SIZE, &size, V(in(&b, "i32[]")), "i64 scalar");
    REFUSED(&b, SIZE, &none, V(in(&b, "i64[]")), "a largest value");
    const tn_attrs_sort low = {.shift = 0};
    expect_type(&b, EMIT(&b, SORT_COUNT, &low, in(&b, "u64[N,5000]")), 0, "i64[N,256,2]");
    REFUSED(&b, SORT_COUNT, &low, V(in(&b, "i64[N,5000]")), "must be u64 of rank 2");
    REFUSED(&b, SORT_COUNT, (&(tn_attrs_sort){.shift = 57}), V(in(&b, "u64[N,5000]")), "bit 57");
    expect_type(&b, EMIT(&b, SORT_MOVE, &low, in(&b, "u64[N,5000]"), in(&b, "i64[N,256,2]")), 0, "u64[N,5000]");
    REFUSED(&b, SORT_MOVE, &low, V(in(&b, "u64[N,5000]"), in(&b, "i64[N,256,3]")),
            "(3) and the blocks of x (2) differ");
    REFUSED(&b, SORT_MOVE, &low, V(in(&b, "u64[N,5000]"), in(&b, "i64[N,255,2]")), "the number of digits (256) differ");
    expect_type(&b, EMIT(&b, PLACE, NULL, in(&b, "f16[N]"), in(&b, "i32[N]")), 0, "f16[N]");
    REFUSED(&b, PLACE, NULL, V(in(&b, "f16[4]"), in(&b, "i32[5]")), "differ");
    REFUSED(&b, PLACE, NULL, V(in(&b, "f16[4,1]"), in(&b, "i32[4]")), "two vectors");
    expect_type(&b, EMIT(&b, SCATTER_SORTED, &nd, in(&b, "f32[N,6]"), in(&b, "u64[9]"), in(&b, "f32[9,6]")), 0,
                "f32[N,6]");
    REFUSED(&b, SCATTER_SORTED, &nd, V(in(&b, "f32[N,6]"), in(&b, "i64[9]"), in(&b, "f32[9,6]")), "u64 vector");
    REFUSED(&b, SCATTER_SORTED, &nd, V(in(&b, "f32[N,6]"), in(&b, "u64[8]"), in(&b, "f32[9,6]")), "(8)", "(9) differ");
    expect_type(&b, EMIT(&b, DET, NULL, in(&b, "f32[N,3,4,4]")), 0, "f32[N,3]");
    REFUSED(&b, DET, NULL, V(in(&b, "f32[4,5]")), "(4)", "(5) differ");
    REFUSED(&b, DET, NULL, V(in(&b, "f32[4]")), "rank 1");
    tn_attrs_compact five = {.size = c5};
    expect_type(&b, EMIT(&b, COMPACT, &five, in(&b, "bool[2049]"), in(&b, "i64[3]")), 0, "i64[5]");
    REFUSED(&b, COMPACT, &five, V(in(&b, "bool[2049]"), in(&b, "i64[2]")), "(2) and the mask's blocks (3) differ");
    REFUSED(&b, COMPACT, &five, V(in(&b, "i64[2049]"), in(&b, "i64[3]")), "bool vector");
    tn_val boxes = in(&b, "f32[B,N,4]"), scores = in(&b, "f32[B,C,N]"), most = in(&b, "i64[]"), iou = in(&b, "f32[]");
    tn_attrs_nms nms = {.count = count.count};
    expect_type(&b, EMIT(&b, NMS, &nms, boxes, scores, most, iou), 0, "i64[K,3]");
    const tn_attrs_nms_keep corners = {.center = false};
    const tn_val order = in(&b, "i64[B,C,N]"), may = in(&b, "bool[B,C,N]");
    expect_type(&b, EMIT(&b, NMS_KEEP, &corners, boxes, order, may, most, iou), 0, "bool[B,C,N]");
    REFUSED(&b, NMS_KEEP, &corners, V(boxes, order, order, most, iou), "must be bool");
    REFUSED(&b, NMS_KEEP, &corners, V(boxes, in(&b, "i64[B,N]"), may, most, iou), "operand 1 has a wrong rank");
    REFUSED(&b, NMS, &nms, V(in(&b, "f32[B,N,5]"), scores, most, iou), "5",
            "(5) and the number of coordinates (4) differ");
    REFUSED(&b, NMS, &nms, V(in(&b, "f32[2,7,4]"), in(&b, "f32[2,1,8]"), most, iou), "7", "8");
    REFUSED(&b, NMS, &nms, V(boxes, scores, in(&b, "i64[1]"), iou), "operand 2 has a wrong rank");
    const tn_attrs_recur lstm = {.cell = "lstm", .direction = "both", .clip = 2},
                         gru = {.cell = "gru", .direction = "reverse"};
    const tn_val absent = {0}, gates = in(&b, "f16[T,B,64]"), weight = in(&b, "f16[2,32,8]"),
                 state = in(&b, "f16[2,B,8]");
    expect_type(&b, EMIT(&b, RECUR, &lstm, gates, weight, state, state, absent, in(&b, "f16[2,24]"), in(&b, "i32[B]")),
                0, "f16[T + 2,2,B,8]");
    expect_type(&b, EMIT(&b, RECUR, &gru, in(&b, "f32[5,B,3*H]"), in(&b, "f32[1,3*H,H]"), in(&b, "f32[1,B,H]")), 0,
                "f32[6,1,B,H]");
    REFUSED(&b, RECUR, &lstm, V(gates, weight, state), "only an lstm has a cell state");
    REFUSED(&b, RECUR, &lstm, V(gates, weight, state, in(&b, "f32[2,B,8]")), "f16", "f32");
    REFUSED(&b, RECUR, &lstm, V(in(&b, "f16[T,B,60]"), weight, state, state), "60", "all gates (64) differ");
    REFUSED(&b, RECUR, &lstm, V(gates, in(&b, "f16[2,33,8]"), state, state), "33", "the gates (32) differ");
    REFUSED(&b, RECUR, &lstm, V(gates, weight, state, in(&b, "f16[1,B,8]")), "1",
            "the number of directions (2) differ");
    REFUSED(&b, RECUR, &lstm, V(gates, weight, state, state, absent, in(&b, "f16[2,25]")), "25",
            "three gates (24) differ");
    REFUSED(&b, RECUR, &lstm, V(gates, weight, state, state, absent, absent, in(&b, "f16[B]")), "integer");
    REFUSED(&b, RECUR, &lstm, V(gates, weight, state, state, in(&b, "f16[2,8]")), "only gru_linear");
    REFUSED(&b, RECUR, (&(tn_attrs_recur){.cell = "gru", .direction = "both"}), V(gates, weight, state, state),
            "only an lstm");
    REFUSED(&b, RECUR, (&(tn_attrs_recur){.cell = "lstms", .direction = "both"}), V(gates, weight, state, state),
            "'lstms'");
    REFUSED(&b, RECUR, (&(tn_attrs_recur){.cell = "lstm", .direction = "back"}), V(gates, weight, state, state),
            "'back'");
    REFUSED(&b, RECUR, (&(tn_attrs_recur){.cell = "lstm", .direction = "both", .clip = -1}),
            V(gates, weight, state, state), "clip is negative");
    const tn_attrs_attention scaled = {.scale = 0.25};
    tn_val q = in(&b, "f16[2,9,16]"), k = in(&b, "f16[2,7,16]"), v = in(&b, "f16[2,7,8]"), m = absent;
    expect_type(&b, EMIT(&b, ATTENTION, &scaled, q, k, v, m, m, m, in(&b, "f32[9,1]")), 0, "f16[2,9,8]");
    REFUSED(&b, ATTENTION, &scaled, V(q, k, v, m, m, m, in(&b, "f32[9,7]")), "one number for all keys");
    REFUSED(&b, ATTENTION, &scaled, V(q, k, v, m, m, m, in(&b, "f32[4,1]")), "4", "9");
    REFUSED(&b, ATTENTION, &scaled, V(q, k, v, m, m, m, in(&b, "i64[9,1]")), "floating point");
    REFUSED(&b, ATTENTION, &scaled, V(q, k, v, m, m, in(&b, "i64[9,7]")), "one number for all keys");
    REFUSED(&b, ATTENTION, &scaled, V(q, k, v, m, m, m, m, in(&b, "f32[9,1]")), "the first key is f32");
    REFUSED(&b, ATTENTION, &scaled, V(q, k, v, m, m, m, m, in(&b, "i32[9,7]")), "one number for all keys");
    tn_val image = in(&b, "f16[N,C,H,W]");
    tn_attrs_grid_sample cubic = {.mode = "cubic"};
    expect_type(&b, EMIT(&b, GRID_SAMPLE, &cubic, image, in(&b, "f32[N,P,Q,2]")), 0, "f16[N,C,P,Q]");
    REFUSED(&b, GRID_SAMPLE, &cubic, V(image, in(&b, "f32[N,P,Q,3]")), "last size is 3; it must be 2");
    REFUSED(&b, GRID_SAMPLE, &cubic, V(image, in(&b, "f32[N,P,2]")), "same rank");
    REFUSED(&b, GRID_SAMPLE, (&(tn_attrs_grid_sample){.mode = "bicubic"}), V(image, in(&b, "f32[N,P,Q,2]")), "bicubic");
    tn_attrs_roi_align roi = {.height = 3, .width = 2, .scale = 1};
    expect_type(&b, EMIT(&b, ROI_ALIGN, &roi, image, in(&b, "f16[R,4]"), in(&b, "i64[R]")), 0, "f16[R,C,3,2]");
    REFUSED(&b, ROI_ALIGN, &roi, V(image, in(&b, "f16[R,5]"), in(&b, "i64[R]")), "5", "4");
    REFUSED(&b, ROI_ALIGN, &roi, V(image, in(&b, "f16[7,4]"), in(&b, "i64[8]")), "7", "8");
    REFUSED(&b, ROI_ALIGN, (&(tn_attrs_roi_align){.width = 2}), V(image, in(&b, "f16[R,4]"), in(&b, "i64[R]")),
            "0 x 2");
    bench_close(&b);
}
END_TEST

START_TEST(test_reductions_and_norms) {
    const int64_t axes[] = {1, 2}, unsorted[] = {2, 1}, far[] = {3};
    bench b;
    bench_open(&b);
    tn_val x = in(&b, "f32[N,4,6]");
    expect_type(&b, EMIT(&b, REDUCE_SUM, (&(tn_attrs_reduce){.axes = {axes, 2}}), x), 0, "f32[N]");
    expect_type(&b, EMIT(&b, REDUCE_MAX, (&(tn_attrs_reduce){.axes = {axes, 2}, .keepdims = true}), x), 0,
                "f32[N,1,1]");
    REFUSED(&b, REDUCE_SUM, (&(tn_attrs_reduce){.axes = {unsorted, 2}}), V(x), "sorted");
    REFUSED(&b, REDUCE_SUM, (&(tn_attrs_reduce){.axes = {far, 1}}), V(x), "axis 3");
    expect_type(&b, EMIT(&b, ARG_MAX, (&(tn_attrs_arg){.axis = 1}), x), 0, "i64[N,6]");
    REFUSED(&b, ARG_MAX, (&(tn_attrs_arg){.axis = 1}), V(in(&b, "f32[2,0]")), "empty");
    expect_type(&b, EMIT(&b, SOFTMAX, (&(tn_attrs_axis){.axis = 2}), x), 0, "f32[N,4,6]");
    REFUSED(&b, SOFTMAX, (&(tn_attrs_axis){.axis = -1}), V(x), "axis -1");
    REFUSED(&b, SOFTMAX, (&(tn_attrs_axis){.axis = 1}), V(in(&b, "i32[2,2]")), "floating point");
    REFUSED(&b, LAYER_NORM, (&(tn_attrs_norm){.axis = 2}), V(x, in(&b, "f32[5]")), "broadcast");
    REFUSED(&b, BATCH_NORM, (&(tn_attrs_norm){.axis = 1}),
            V(x, in(&b, "f32[4]"), in(&b, "f32[4]"), in(&b, "f32[4]"), in(&b, "f32[6]")), "axis 0 of",
            "(6) and axis 1 of", "(4)", "differ");
    REFUSED(&b, GROUP_NORM, (&(tn_attrs_norm){.groups = 3}), V(x), "(4) is not divisible by the number of groups (3)");
    REFUSED(&b, LRN, (&(tn_attrs_lrn){.size = 0, .axis = 1}), V(x), "size is 0");
    REFUSED(&b, GELU, (&(tn_attrs_activation){.approximate = "fast"}), V(x), "fast");
    bench_close(&b);
}
END_TEST

/* Floats that are only stored: moved and cast, and refused by every op that computes. */
START_TEST(test_stored_floats) {
    bench b;
    bench_open(&b);
    const int64_t axes[] = {0};
    const tn_val s = in(&b, "f8e8m0[N,4]"), q = in(&b, "f4e2m1[N,4]"), z = in(&b, "f8e4m3fnuz[N,4]");
    for (int op = 1; op < TN_OP_COUNT; op++) { /* with no attributes but zeros, of one to three operands */
        const bool moves = tn_op_is((tn_op)op, TN_T_MOVEMENT) || op == TN_OP_CAST || op == TN_OP_SELECT;
        for (size_t n = 1; tn_op_is((tn_op)op, TN_T_ELEMENTWISE | TN_T_FOLD) && !moves && n <= 3; n++) {
            tn_type types[8];
            size_t n_types;
            const tn_status st = tn_infer(b.g, (tn_op)op, NULL, n, V(q, q, q), 0, NULL, types, 8, &n_types);
            ck_assert_msg(st != TN_OK, "%s of %zu", tn_op_text((tn_op)op), n);
        }
    }
    REFUSED(&b, ADD, NULL, V(s, s), "operand 0 is f8e8m0", "cast first");
    REFUSED(&b, EQ, NULL, V(z, z), "only stored");
    REFUSED(&b, IS_NAN, NULL, V(s), "only stored");
    REFUSED(&b, REDUCE_MAX, (&(tn_attrs_reduce){.axes = {axes, 1}}), V(q), "only stored");
    expect_type(&b, EMIT(&b, SELECT, NULL, in(&b, "bool[N,4]"), q, q), 0, "f4e2m1[N,4]");
    expect_type(&b, EMIT(&b, CONCAT, (&(tn_attrs_axis){.axis = 1}), s, s), 0, "f8e8m0[N,8]");
    expect_type(&b, EMIT(&b, CAST, (&(tn_attrs_cast){.to = TN_F8E8M0, .round = "up"}), q), 0, "f8e8m0[N,4]");
    REFUSED(&b, CAST, (&(tn_attrs_cast){.to = TN_F8E8M0, .round = "away"}), V(q), "round is \"away\"");
    REFUSED(&b, CAST, (&(tn_attrs_cast){.to = TN_F16, .round = "up"}), V(q), "round is \"up\"");
    bench_close(&b);
}
END_TEST

START_TEST(test_casts_and_limits) {
    bench b;
    bench_open(&b);
    tn_val x = in(&b, "f32[N,4]");
    expect_type(&b, EMIT(&b, CAST, (&(tn_attrs_cast){.to = TN_F16}), x), 0, "f16[N,4]");
    expect_type(&b, EMIT(&b, BITCAST, (&(tn_attrs_cast){.to = TN_U32}), x), 0, "u32[N,4]");
    REFUSED(&b, BITCAST, (&(tn_attrs_cast){.to = TN_F16}), V(x), "widths differ");
    REFUSED(&b, CAST, NULL, V(x), "dtype");
    REFUSED(&b, CLAMP, (&(tn_attrs_clamp){.lo = 2, .hi = 1}), V(x), "lower bound");
    /* 2^31 * 2^31 * 8 elements are more than 63 bits of bytes can count. */
    tn_dim big[] = {tn_dim_const(b.g, INT64_C(1) << 31), tn_dim_const(b.g, INT64_C(1) << 31), tn_dim_const(b.g, 8)};
    REFUSED(&b, BROADCAST, (&(tn_attrs_shape){.dims = {big, 3}}), V(in(&b, "f32[1]")), "overflow");
    tn_dim many[9];
    for (size_t k = 0; k < 9; k++) many[k] = tn_dim_const(b.g, 1);
    REFUSED(&b, RESHAPE, (&(tn_attrs_shape){.dims = {many, 9}}), V(in(&b, "f32[1]")), "rank 9");
    tn_dim negative[] = {tn_dim_const(b.g, -3)};
    REFUSED(&b, RESHAPE, (&(tn_attrs_shape){.dims = {negative, 1}}), V(in(&b, "f32[1]")), "-3");
    REFUSED(&b, IOTA, (&(tn_attrs_iota){.dtype = TN_I64, .dims = {negative, 1}, .axis = 1}), ((tn_val[0]){}), "axis 1");
    bench_close(&b);
}
END_TEST

/* A region of one argument that yields it n times, and whatever else. */
static tn_region region_of(bench *b, const tn_type *args, size_t n_args, size_t n_yields, const size_t *yields) {
    tn_region r = tn_region_new(b->g);
    tn_val vals[4], out[4];
    for (size_t k = 0; k < n_args; k++) vals[k] = tn_region_add_arg(b->g, r, args[k], "a");
    for (size_t k = 0; k < n_yields; k++) out[k] = vals[yields[k]];
    tn_cursor former = tn_set_cursor(b->g, tn_cursor_end(b->g, r));
    ck_assert_uint_ne(tn_emit(b->g, TN_OP_YIELD, NULL, n_yields, out).i, 0);
    tn_set_cursor(b->g, former);
    return r;
}

static void expect_regions_refused(bench *b, tn_op op, const void *attrs, size_t n, const tn_val *vals,
                                   size_t n_regions, const tn_region *regions, const char *text) {
    tn_type types[8];
    size_t n_types = 0;
    b->message[0] = 0;
    ck_assert_int_eq(tn_infer(b->g, op, attrs, n, vals, n_regions, regions, types, 8, &n_types), TN_E_TYPE);
    ck_assert_msg(strstr(b->message, text) != NULL, "\"%s\" does not say \"%s\"", b->message, text);
}

START_TEST(test_regions) {
    bench b;
    bench_open(&b);
    tn_val x = in(&b, "f32[N,4]"), c = in(&b, "bool[]"), trips = in(&b, "i64[]"), none = {0};
    tn_type fx = tn_val_type(b.g, x), i64 = tn_val_type(b.g, trips), bit = tn_val_type(b.g, c);
    tn_region one = region_of(&b, &fx, 1, 1, (size_t[]){0});
    expect_regions_refused(&b, TN_OP_KERNEL, NULL, 0, NULL, 1, &one, "0 operands but its region takes 1");
    expect_regions_refused(&b, TN_OP_KERNEL, NULL, 1, V(trips), 1, &one, "operand 0 is i64[]");
    expect_regions_refused(&b, TN_OP_IF, NULL, 1, V(x), 1, &one, "condition");
    expect_regions_refused(&b, TN_OP_IF, NULL, 1, V(c), 1, &one, "1 regions; it needs 2");
    tn_attrs_loop a = {.carried = 1, .trips = tn_dim_sym(b.g, "T")};
    tn_region body = region_of(&b, (tn_type[]){i64, bit, fx}, 3, 3, (size_t[]){1, 2, 2});
    expect_regions_refused(&b, TN_OP_LOOP, &a, 2, V(trips, c), 1, &body, "2 operands");
    expect_regions_refused(&b, TN_OP_LOOP, &a, 3, V(c, c, x), 1, &body, "trip count must be a i64 scalar");
    expect_regions_refused(&b, TN_OP_LOOP, &(tn_attrs_loop){.carried = 1}, 3, V(trips, none, x), 1, &body, "not set");
    tn_region wrong = region_of(&b, (tn_type[]){i64, bit, fx}, 3, 2, (size_t[]){1, 0});
    expect_regions_refused(&b, TN_OP_LOOP, &a, 3, V(trips, c, x), 1, &wrong, "carried value 0 is f32[N,4] before");
    tn_node n = tn_emit_regions(b.g, TN_OP_LOOP, &a, 3, V(trips, none, x), 1, &body);
    expect_type(&b, n, 0, "f32[N,4]");
    expect_type(&b, n, 1, "f32[T,N,4]");
    n = tn_emit_regions(b.g, TN_OP_KERNEL, NULL, 1, &x, 1, &one);
    expect_type(&b, n, 0, "f32[N,4]");
    bench_close(&b);
}
END_TEST

/* Random attributes never crash a rule, whatever they hold. */
START_TEST(test_arbitrary_attributes) {
    static const int64_t wild[] = {
        0, 1, -1, 2, 3, 7, 64, INT64_MAX, INT64_MIN, INT64_C(1) << 31, -(INT64_C(1) << 31), INT64_C(1) << 62};
    bench b;
    uint32_t seed = 12345u + (uint32_t)_i;
    bench_open(&b);
    b.env.diag = NULL;
    tn_dim d[12];
    for (size_t k = 0; k < 12; k++) d[k] = k % 3 == 2 ? tn_dim_sym(b.g, "S") : tn_dim_const(b.g, wild[k]);
    tn_val pool[] = {in(&b, "f32[N,3,8,9]"), in(&b, "f32[4,3,3,3]"), in(&b, "i64[5]"), in(&b, "f32[]"),
                     in(&b, "bool[2,1]"),    in(&b, "f16[0,4]"),     in(&b, "i64[]"),  in(&b, "f32[3]")};
    for (int round = 0; round < 200; round++)
        for (tn_op op = TN_OP_NEG; op < TN_OP_COUNT; op++) {
            int64_t ints[8];
            tn_dim dims[8];
            tn_val in3[3];
            uint32_t n[4];
#define RAND() (seed = seed * 1664525u + 1013904223u, seed >> 16)
            for (size_t k = 0; k < 8; k++) ints[k] = wild[RAND() % 12];
            for (size_t k = 0; k < 8; k++) dims[k] = d[RAND() % 12];
            for (size_t k = 0; k < 3; k++) in3[k] = pool[RAND() % 8];
            for (size_t k = 0; k < 4; k++) n[k] = RAND() % 6;
            tn_type types[16];
            size_t n_types = 0, n_in = RAND() % 4;
            union {
                tn_attrs_conv conv;
                tn_attrs_conv_transpose convt;
                tn_attrs_pool pool;
                tn_attrs_slice slice;
                tn_attrs_pad pad;
                tn_attrs_axis axis;
                tn_attrs_reduce reduce;
                tn_attrs_shape shape;
                tn_attrs_perm perm;
                tn_attrs_resize resize;
                tn_attrs_split split;
                tn_attrs_norm norm;
                tn_attrs_depth depth;
                tn_attrs_gather_nd nd;
                tn_attrs_scatter scatter;
                tn_attrs_top_k top_k;
                tn_attrs_roi_align roi;
                tn_attrs_iota iota;
                char bytes[512];
            } a = {.bytes = {0}};
            switch (op) {
            case TN_OP_CONV:
                a.conv = (tn_attrs_conv){.strides = {ints, n[0]},
                                         .pads = {ints + 1, n[1]},
                                         .dilations = {ints + 2, n[2]},
                                         .groups = ints[3]};
                break;
            case TN_OP_CONV_TRANSPOSE:
                a.convt = (tn_attrs_conv_transpose){.strides = {ints, n[0]},
                                                    .pads = {ints + 1, n[1]},
                                                    .output_pads = {ints + 2, n[2]},
                                                    .groups = ints[3]};
                break;
            case TN_OP_MAX_POOL:
            case TN_OP_AVG_POOL:
                a.pool = (tn_attrs_pool){.kernel = {ints, n[0]},
                                         .strides = {ints + 2, n[1]},
                                         .pads = {ints + 1, n[2]},
                                         .ceil_mode = n[3] & 1};
                break;
            case TN_OP_SLICE:
                a.slice = (tn_attrs_slice){.starts = {dims, n[0]}, .sizes = {dims + 2, n[0]}, .steps = {ints, n[1]}};
                break;
            case TN_OP_PAD: a.pad = (tn_attrs_pad){.before = {dims, n[0]}, .after = {dims + 2, n[0]}}; break;
            case TN_OP_REDUCE_SUM:
            case TN_OP_REDUCE_MAX: a.reduce = (tn_attrs_reduce){.axes = {ints, n[0]}}; break;
            case TN_OP_RESHAPE:
            case TN_OP_BROADCAST: a.shape = (tn_attrs_shape){.dims = {dims, n[0]}}; break;
            case TN_OP_TRANSPOSE: a.perm = (tn_attrs_perm){.perm = {ints, n[0]}}; break;
            case TN_OP_RESIZE: a.resize = (tn_attrs_resize){.sizes = {dims, n[0]}}; break;
            case TN_OP_SPLIT: a.split = (tn_attrs_split){.axis = ints[0], .sizes = {dims, n[0]}}; break;
            case TN_OP_LAYER_NORM:
            case TN_OP_GROUP_NORM: a.norm = (tn_attrs_norm){.axis = ints[0], .groups = ints[1]}; break;
            case TN_OP_SPACE_TO_DEPTH:
            case TN_OP_DEPTH_TO_SPACE: a.depth = (tn_attrs_depth){.block = ints[0]}; break;
            case TN_OP_SCATTER_ELEMENTS: a.scatter = (tn_attrs_scatter){.axis = ints[0]}; break;
            case TN_OP_TOP_K: a.top_k = (tn_attrs_top_k){.axis = ints[0], .k = dims[0]}; break;
            case TN_OP_ROI_ALIGN:
                a.roi = (tn_attrs_roi_align){.height = ints[0], .width = ints[1], .sampling = ints[2]};
                break;
            case TN_OP_GATHER_ND: a.nd = (tn_attrs_gather_nd){.batch_dims = ints[0]}; break;
            case TN_OP_IOTA: a.iota = (tn_attrs_iota){.dtype = TN_I32, .dims = {dims, n[0]}, .axis = ints[0]}; break;
            case TN_OP_CONCAT:
            case TN_OP_GATHER:
            case TN_OP_SOFTMAX: a.axis = (tn_attrs_axis){.axis = ints[0]}; break;
            default: break;
            }
            tn_status s = tn_infer(b.g, op, &a, n_in, in3, 0, NULL, types, 16, &n_types);
            ck_assert_msg(s == TN_OK || s == TN_E_TYPE, "%s: %s", tn_op_text(op), tn_status_text(s));
            ck_assert_int_eq(tn_graph_status(b.g), TN_OK);
        }
    bench_close(&b);
}
END_TEST

int main(void) {
    Suite *s = suite_create("types");
    TCase *c = tcase_create("types");
    tcase_add_test(c, test_broadcasting);
    tcase_add_test(c, test_stored_floats);
    tcase_add_test(c, test_conv);
    tcase_add_test(c, test_windows);
    tcase_add_test(c, test_matmul);
    tcase_add_test(c, test_products_of_bytes);
    tcase_add_test(c, test_movement);
    tcase_add_test(c, test_indexing_by_data);
    tcase_add_test(c, test_reductions_and_norms);
    tcase_add_test(c, test_casts_and_limits);
    tcase_add_test(c, test_regions);
    tcase_add_loop_test(c, test_arbitrary_attributes, 0, 5);
    suite_add_tcase(s, c);
    return run_suite(s);
}
