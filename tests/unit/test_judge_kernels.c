/* test_judge_kernels.c: generated kernels pass by what they are judged by, on the emulated device.
 *
 * With TENON_JUDGE_MODELS=FOLDER the last test takes the models of that folder too (tests/onnx's, say), which takes
 * long. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/program/program.h"
#include "codegen/tune/build.h"
#include "runtime/emu/driver.h"
#include "tenon/compiler.h"
#include "tests/unit/spec_of_text.h"

typedef struct tally {
    int kernels, cases, skipped, wrong;
} tally;

enum { MOST_ELEMENTS = 20000 };
static const double MOST_FLOPS = 4e5;

/* "" or what is wrong with a result. */
static void compare(const tn_spec *s, const tn_case *c, uint32_t k, const void *got, char *why, size_t size) {
    const tn_placed *p = &c->out[k];
    const double tol = tn_tolerance(s, p->dtype);
    for (int64_t i = 0; i < p->numel; i++) {
        int64_t at = 0, rest = i;
        for (uint32_t d = p->rank; d-- > 0; rest /= p->dims[d]) at += rest % p->dims[d] * p->strides[d];
        const double g = tn_load_num(p->dtype, got, (uint64_t)at), w = ((const double *)c->want[k].data)[i];
        if (g == w || (isnan(g) && isnan(w)) || fabs(g - w) <= tol * (fabs(w) + c->scale[k])) continue;
        snprintf(why, size, "result %u[%lld] is %.9g, not %.9g", k, (long long)i, g, w);
        return;
    }
}

typedef struct bound {
    const tn_spec *s;
    const tn_case *c;
    void *const *in, *const *out;
} bound;

static int64_t dim_value(void *user, tn_dim d) {
    const bound *b = user;
    return tn_shape_value(b->s, &b->c->shape, d);
}

static uint64_t arg_address(void *user, const tn_arg *a) {
    const bound *b = user;
    return (uint64_t)(uintptr_t)(a->kind == TN_ARG_IN ? b->in : b->out)[a->index];
}

/* Runs a variant at one case. */
static bool run_case(const tn_spec *s, const tn_variant *v, tn_emu_kernel *kernel, const tn_case *c, char *why,
                     size_t size) {
    _Alignas(64) uint64_t args[TN_MAX_ARG_WORDS];
    uint64_t in_bytes[TN_MAX_ARGS];
    void *in[TN_MAX_ARGS] = {NULL}, *out[TN_MAX_ARGS] = {NULL};
    tn_emu_range ranges[TN_MAX_ARGS];
    const void *params[] = {args};
    tn_emu_launch l = {.smem = v->smem, .params = params, .ranges = ranges, .seed = 1};
    tn_emu_report rep = {TN_EMU_OK, "", 0, 0};
    *why = 0;
    for (uint32_t k = 0; k < s->n_in; k++) {
        const tn_packing *how = tn_variant_packing(v, &(tn_arg){.kind = TN_ARG_IN, .index = k});
        uint64_t plain, packed = c->in[k].span;
        ck_assert(!how || (tn_packing_sizes(how, &plain, &packed) && plain == c->in[k].span));
        in[k] = aligned_alloc(256, (packed + 256) / 256 * 256);
        in_bytes[k] = packed;
        if (how)
            tn_packing_pack(how, c->data[k], in[k]);
        else
            memcpy(in[k], c->data[k], c->in[k].span);
    }
    for (uint32_t k = 0; k < s->n_out; k++) {
        out[k] = aligned_alloc(256, (c->out[k].span + 256) / 256 * 256);
        memset(out[k], 0xc5, c->out[k].span);
    }
    bound b = {s, c, in, out};
    const tn_arg_values values = {dim_value, arg_address, &b};
    tn_cuda *cu;
    ck_assert(tn_emu_driver_open(tn_graph_env(s->g), &cu) == TN_OK && tn_variant_args(v, cu, &values, args) == TN_OK);
    tn_cuda_close(cu);
    for (uint32_t k = 0; k < v->n_args; k++) {
        const tn_arg *a = &v->args[k];
        if (a->kind != TN_ARG_IN && a->kind != TN_ARG_OUT) continue;
        const bool is_in = a->kind == TN_ARG_IN;
        void *at = is_in ? in[a->index] : out[a->index];
        const size_t bytes = is_in ? in_bytes[a->index] : c->out[a->index].span;
        ranges[l.n_ranges++] =
            (tn_emu_range){at, bytes, !is_in, !is_in || !s->in[a->index].is_const, is_in ? "an input" : "an output"};
    }
    bool launched = true;
    for (int k = 0; k < 3; k++) {
        l.grid[k] = v->grid[k].i ? (uint32_t)tn_shape_value(s, &c->shape, v->grid[k]) : 1;
        l.block[k] = v->block[k] ? v->block[k] : 1;
        l.cluster[k] = v->cluster[k];
        launched &= l.grid[k] > 0;
    }
    tn_grid_turns(l.grid, v->cluster[0], v->together, v->per_sm ? 2 : 0);
    l.together = v->together;
    if (v->together) memset(out[0], 0xff, c->out[0].span);
    if (launched && tn_emu_run(kernel, &l, &rep) != TN_OK) snprintf(why, size, "does not run");
    if (rep.fault) snprintf(why, size, "%.700s", rep.text);
    for (uint32_t k = 0; k < s->n_out && !*why; k++) compare(s, c, k, out[k], why, size);
    for (uint32_t k = 0; k < s->n_in; k++) free(in[k]);
    for (uint32_t k = 0; k < s->n_out; k++) free(out[k]);
    return !*why;
}

static bool is_small(const tn_spec *s, const tn_case *c) {
    int64_t n = 0;
    for (uint32_t k = 0; k < s->n_in + s->n_out; k++) n += k < s->n_in ? c->in[k].numel : c->out[k - s->n_in].numel;
    return n <= MOST_ELEMENTS && tn_spec_flops(s, &c->shape) <= MOST_FLOPS;
}

static void judge_spec(const tn_spec *s, const char *name, tally *t) {
    tn_reference *r;
    tn_variant *v = NULL;
    size_t n = 0, size;
    char *source, why[800];
    tn_emu_module *module;
    tn_emu_kernel *kernel;
    const tn_status st = tn_reference_make(NULL, s, &r);
    if (st == TN_E_UNSUPPORTED) {
        t->skipped++;
        return;
    }
    ck_assert_msg(st == TN_OK, "%s: no reference: %s", name, s->text);
    bool any = false;
    for (size_t j = 0; j < r->n; j++) any |= is_small(s, r->of[j]);
    if (!any) t->skipped++;
    if (any && tn_enumerate(s, tn_arch_find("sm_90a"), NULL, 1, &v, &n) == TN_OK) {
        ck_assert_int_eq(tn_variant_source(NULL, &v[0], &source, &size), TN_OK);
        ck_assert_int_eq(tn_emu_load(NULL, v[0].text, source, size, &module), TN_OK);
        ck_assert_msg(tn_emu_get(module, v[0].symbol, &kernel) == TN_OK, "%s: %s", name, v[0].text);
        t->kernels++;
        for (size_t j = 0; j < r->n; j++) {
            char shape[400] = "";
            if (!is_small(s, r->of[j])) continue;
            for (size_t k = 0, at = 0; k < r->of[j]->shape.n && at < sizeof shape; k++)
                at += (size_t)snprintf(shape + at, sizeof shape - at, " %s=%lld", r->of[j]->shape.b[k].name,
                                       (long long)r->of[j]->shape.b[k].value);
            t->cases++;
            if (run_case(s, &v[0], kernel, r->of[j], why, sizeof why)) continue;
            printf("%s, %s: %s at%s: %s\n%s", name, s->name, v[0].text, shape, why, s->text);
            t->wrong++;
            break;
        }
        tn_emu_unload(module);
        tn_free(NULL, source, size + 1);
        tn_variant_free(NULL, &v[0]);
        tn_free(NULL, v, sizeof *v);
    }
    tn_reference_free(r);
}

static void judge_graph(kernels *k, const char *name, tally *t) {
    TN_FOR_NODES(k->g, tn_graph_body(k->g), n) {
        if (tn_node_op(k->g, n) != TN_OP_KERNEL) continue;
        tn_spec *s;
        ck_assert_int_eq(tn_spec_make(k->g, n, &k->mem, &s), TN_OK);
        judge_spec(s, name, t);
        tn_spec_free(s);
    }
}

static const char *const symbolic[] = {
    FUNC("%x: u8[N,M], %z: u8[M]", "%y: f16[N,M]",
         "%0 = sub %x, %z\n%1 = cast %0 {to=f16}\n%2 = cast %x {to=f16}\n%y = add %1, %2\nreturn %y\n"),
    FUNC("%x: i8[N,7], %i: i32[M]", "%y: i8[N,M]", "%0 = gather %x, %i {axis=1}\n%y = neg %0\nreturn %y\n"),
    FUNC("%x: i64[N,M], %z: i64[N,M]", "%y: i64[N,M]", "%0 = div %x, %z\n%y = mul %0, %z\nreturn %y\n"),
    /* one number behind a view, more than a double holds: a literal in the kernel */
    FUNC("%x: i64[N,M]", "%y: i64[N,M]",
         "%c = const [9007199254740993] : i64[1]\n%z = reshape %c {dims=[]}\n"
         "%y = add %x, %z\nreturn %y\n"),
    FUNC("%x: i32[N,M]", "%y: i32[N]", "%y = reduce_max %x {axes=[1]}\nreturn %y\n"),
    FUNC("%x: f32[N,M]", "%y: f32[N,M]", "%y = softmax %x {axis=1}\nreturn %y\n"),
    FUNC("%x: f16[N,24], %w: f16[24,M]", "%y: f16[N,M]", "%0 = matmul %x, %w\n%y = relu %0\nreturn %y\n"),
    FUNC("%x: f32[N,M,3], %z: f32[N,M,5]", "%y: f32[M,N,8]",
         "%0 = concat %x, %z {axis=2}\n%1 = tanh %0\n%y = transpose %1 {perm=[1,0,2]}\nreturn %y\n"),
    FUNC("%x: f32[2,N,M,3], %w: f32[4,3,3,3]", "%y: f32[2,N,M,4]",
         "%y = conv %x, %w {strides=[1,1], pads=[1,1,1,1], dilations=[1,1], groups=1, layout=\"nhwc\"}\nreturn %y\n"),
};

START_TEST(kernels_pass) {
    if (system("${TENON_CXX:-${CXX:-c++}} --version > /dev/null 2>&1")) {
        printf("skipped: there is no C++ compiler\n");
        return;
    }
    setenv("TENON_EMU_FLAGS", "-O0", 0);
    tally t = {0, 0, 0, 0};
    kernels k = open_text(symbolic[_i]);
    judge_graph(&k, "text", &t);
    close_kernels(&k);
    ck_assert_int_eq(t.skipped + t.wrong, 0);
    ck_assert_int_ge(t.cases, 4);
}
END_TEST

static bool is_model(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && !strcmp(dot, ".onnx") && strncmp(name, "illegal_", 8) != 0;
}

START_TEST(kernels_of_models_pass) {
    const char *folder = getenv("TENON_JUDGE_MODELS"), *only = getenv("TENON_JUDGE_ONLY");
    tally t = {0, 0, 0, 0};
    DIR *d = folder ? opendir(folder) : NULL;
    setenv("TENON_EMU_FLAGS", "-O0", 0);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[600];
        tn_status st;
        if (!is_model(e->d_name) || (only && !strstr(e->d_name, only))) continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        kernels k = {.g = tn_import_onnx(NULL, path, NULL, &st)};
        if (!k.g) continue;
        const tn_pass_options o = {.compute = TN_F32, .nhwc = true};
        tn_pass_ctx *ctx = tn_pass_ctx_new(NULL, &o);
        const bool ok = tn_run_passes(k.g, NULL, ctx) == TN_OK && tn_plan_memory(k.g, &k.mem) == TN_OK;
        tn_pass_ctx_free(ctx);
        if (ok) judge_graph(&k, e->d_name, &t);
        close_kernels(&k);
    }
    if (d) closedir(d);
    if (d) printf("%d kernels at %d shapes, %d wrong, %d are too large\n", t.kernels, t.cases, t.wrong, t.skipped);
    ck_assert_int_eq(t.wrong, 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("judge_kernels");
    TCase *t = tcase_create("kernels");
    tcase_set_timeout(t, getenv("TENON_JUDGE_MODELS") ? 7200 : 120);
    tcase_add_loop_test(t, kernels_pass, 0, (int)(sizeof symbolic / sizeof *symbolic));
    tcase_add_test(t, kernels_of_models_pass);
    suite_add_tcase(s, t);
    return run_suite(s);
}
