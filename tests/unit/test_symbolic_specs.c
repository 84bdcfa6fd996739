/* test_symbolic_specs.c: every kernel has a template and compiles for every architecture, whatever its symbolic sizes
 * are made of: graphs whose dims are drawn from sums, products and quotients of symbols.
 *
 * TENON_SPECS=COUNT draws so many for NVRTC (a few by default; all get their sources), TENON_SPECS_FIRST the first. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/ir.h"
#include "tenon/compiler.h"
#include "tests/unit/compile_env.h"
#include "tests/unit/suite.h"

enum { SOURCES = 300, COMPILED = 14, DIMS = 6, DIM_TEXT = 200, TEXT = 8192 };

/* ---- dims -------------------------------------------------------------------------------------------------------- */

static uint64_t state;

static uint64_t draw(uint64_t n) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state >> 33) % n;
}

static size_t put(char *out, size_t at, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out + at, DIM_TEXT - at, fmt, args);
    va_end(args);
    ck_assert(n >= 0 && at + (size_t)n < DIM_TEXT);
    return at + (size_t)n;
}

/* A size that is never negative. */
static size_t put_dim(char *out, size_t at, int depth) {
    static const char *const symbols[] = {"N", "H", "W", "K", "S", "\"a b\""};
    if (depth == 0) return put(out, at, "%s", symbols[draw(6)]);
    switch (draw(6)) {
    case 0: return put(out, put_dim(out, at, depth - 1), "*%d", (int)(2 + draw(7)));
    case 1: return put(out, put_dim(out, put(out, put_dim(out, put(out, at, "("), depth - 1), " + "), depth - 1), ")");
    case 2: return put_dim(out, put(out, put_dim(out, at, depth - 1), "*"), 0);
    case 3: {
        const int by = (int)(2 + draw(15));
        return put(out, put_dim(out, put(out, at, "(("), depth - 1), " + %d)//%d)", by - 1, by);
    }
    case 4:
        return put(out,
                   put_dim(out, put(out, put_dim(out, put(out, at, "("), depth - 1), " + %d)//(1 + ", (int)draw(9)), 0),
                   ")");
    default:
        return put(out, put_dim(out, put(out, put_dim(out, put(out, at, "bcast("), depth - 1), ", "), depth - 1), ")");
    }
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

/* $0 to $5 are sizes, $t is a float type. */
static const char *const bodies[] = {
    /* attention with a mask that is broadcast */
    "func @main(%q: $t[$0,8,$1,16], %k: $t[$0,8,$2,16], %v: $t[$0,8,$2,16], %m: $t[$3,1,$1,$2]) -> $t[bcast($0, "
    "$3),8,$1,16] {\n"
    "  %s = matmul %q, %k {trans_b=true}\n  %a = add %s, %m\n  %p = softmax %a {axis=3}\n  %y = matmul %p, %v\n"
    "  return %y\n}\n",
    /* a linear layer of rows that are reshaped */
    "func @main(%x: $t[$0,$1,64], %w: $t[64,$2], %b: $t[$2]) -> $t[($0)*($1),$2] {\n"
    "  %r = reshape %x {dims=[($0)*($1),64]}\n  %y = matmul %r, %w\n  %z = add %y, %b\n  %g = relu %z\n  return "
    "%g\n}\n",
    "func @main(%x: $t[$0,$1,$2], %s: $t[$2], %b: $t[$2]) -> $t[$0,$1,$2] {\n"
    "  %y = layer_norm %x, %s, %b {axis=2, eps=1e-5}\n  return %y\n}\n",
    "func @main(%x: $t[$0,$1,$2,$3]) -> ($t[$0,$2,$3], $t[$0,$1,$2,$3]) {\n"
    "  %y = reduce_max %x {axes=[1]}\n  %z = softmax %x {axis=1}\n  return %y, %z\n}\n",
    /* windows */
    "func @main(%x: $t[$0,4,$1 + 4,$2 + 4], %w: $t[8,4,3,3]) -> ($t[$0,8,($1 + 3)//2 + 1,($2 + 3)//2 + 1], $t[$0,4,$1 "
    "+ 3,$2 + 3]) {\n"
    "  %y = conv %x, %w {strides=[2,2], pads=[1,1,1,1]}\n  %z = max_pool %x {kernel=[2,2]}\n  return %y, %z\n}\n",
    /* movement: a transpose behind a reshape, a concat of unlike parts, a slice, a pad */
    "func @main(%x: $t[$0,($1)*4,$2]) -> $t[$0,4,$2,$1] {\n"
    "  %r = reshape %x {dims=[$0,$1,4,$2]}\n  %y = transpose %r {perm=[0,2,3,1]}\n  %z = exp %y\n  return %z\n}\n",
    "func @main(%a: $t[$0,$1,3], %b: $t[$0,$2,3], %c: $t[$0,$3,3]) -> $t[$0,max($1 + $2 + $3 - 1, 0),3] {\n"
    "  %x = concat %a, %b, %c {axis=1}\n"
    "  %y = slice %x {starts=[0,min($1 + $2 + $3, 1),0], sizes=[$0,max($1 + $2 + $3 - 1, 0),3], steps=[1,1,1]}\n"
    "  %z = tanh %y\n  return %z\n}\n",
    "func @main(%x: $t[$0,$1]) -> $t[$0 + $2,$1 + $3] {\n"
    "  %y = pad %x {before=[$2,0], after=[0,$3], mode=\"constant\", value=1}\n  return %y\n}\n",
    /* elementwise over four sizes, none of which need be the other's */
    "func @main(%a: $t[$0,1,$1], %b: $t[$2,$3], %c: $t[$4,1,1]) -> $t[bcast($0, $4),$2,bcast($1, $3)] {\n"
    "  %x = add %a, %b\n  %y = mul %x, %c\n  return %y\n}\n",
    "func @main(%t: $t[$0,32], %i: i64[$1,$2], %x: $t[$1,$2,32]) -> $t[$1,$2,32] {\n"
    "  %g = gather %t, %i {axis=0}\n  %y = add %g, %x\n  return %y\n}\n",
    "func @main(%x: f32[$0,$1,$2]) -> (f32[$0,$1,$2], i64[$0,$2]) {\n"
    "  %y = cumsum %x {axis=1}\n  %z = arg_max %x {axis=1}\n  return %y, %z\n}\n",
};

enum { BODIES = sizeof bodies / sizeof *bodies };

static void make_text(uint64_t seed, char *out) {
    static const char *const types[] = {"f32", "f16", "bf16"};
    char dims[DIMS][DIM_TEXT];
    state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    const char *body = bodies[seed % BODIES], *type = types[draw(3)];
    for (int k = 0; k < DIMS; k++) put_dim(dims[k], 0, (int)draw(4));
    size_t n = 0;
    for (const char *p = body; *p; p++) {
        const char *s = p[0] != '$' ? NULL : p[1] == 't' ? type : dims[p[1] - '0'];
        if (s) p++;
        int used = s ? snprintf(out + n, TEXT - n, "%s", s) : snprintf(out + n, TEXT - n, "%c", *p);
        ck_assert(used >= 0 && n + (size_t)used < TEXT);
        n += (size_t)used;
    }
}

/* ---- compiling --------------------------------------------------------------------------------------------------- */

static char message[2048];

static void keep(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity != TN_NOTE) snprintf(message, sizeof message, "%s: %s", d->loc, d->message);
}

/* False, and nothing said, where the graph itself is refused: two of its sizes can never fit. */
static bool compile(uint64_t seed, const tn_compile_options *opts) {
    char text[TEXT];
    tn_env env = {.diag = keep};
    tn_status st;
    void *data = NULL;
    size_t size = 0;
    make_text(seed, text);
    message[0] = 0;
    tn_graph *g = tn_parse(&env, "drawn", text, strlen(text), NULL, 0, true, &st);
    if (!g) return false;
    st = tn_compile_memory(g, opts, &data, &size);
    ck_assert_msg(st == TN_OK, "seed %llu: %s\n%s", (unsigned long long)seed, message, text);
    tn_free(&env, data, size);
    tn_graph_free(g);
    return true;
}

static uint64_t number(const char *name, uint64_t otherwise) {
    const char *s = getenv(name);
    return s && *s ? strtoull(s, NULL, 10) : otherwise;
}

START_TEST(every_spec_has_a_template) {
    static const char *const target = "sm_90a";
    const tn_compile_options opts = {
        .targets = &target, .n_targets = 1, .no_gpu = true, .sources_only = true, .tune_seconds = -1, .cache_dir = ""};
    int made = 0;
    for (uint64_t k = 0; k < SOURCES; k++) made += compile(number("TENON_SPECS_FIRST", 1) + k, &opts);
    ck_assert_msg(made > SOURCES * 3 / 4, "only %d of %d graphs can be", made, SOURCES);
}
END_TEST

START_TEST(every_spec_compiles) {
    static const char *const targets[] = {"sm_80", "sm_89", "sm_90a", "sm_100"};
    if (no_nvrtc()) return;
    const tn_compile_options opts = {
        .targets = targets, .n_targets = 4, .no_gpu = true, .tune_seconds = -1, .cache_dir = ""};
    const uint64_t turn = number("TENON_MATRIX_TURN", 0); /* other graphs from commit to commit */
    const uint64_t first = number("TENON_SPECS_FIRST", 1 + turn * COMPILED), n = number("TENON_SPECS", COMPILED);
    for (uint64_t k = 0; k < n; k++) compile(first + k, &opts);
}
END_TEST

int main(void) {
    Suite *s = suite_create("symbolic_specs");
    TCase *t = tcase_create("symbolic_specs");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, every_spec_has_a_template);
    tcase_add_test(t, every_spec_compiles);
    suite_add_tcase(s, t);
    return run_suite(s);
}
