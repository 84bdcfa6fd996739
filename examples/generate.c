/* generate.c: a decoder's plan writes text: the prompt in one inference, then a token at a time with a KV cache.
 *
 * usage: generate PLAN [--prompt TEXT | --ids 1,2,3] [--tokens N] [--length N] [--device cuda|cpu|emu] [--no-cache]
 *
 * A prompt is read byte by byte, for a model whose tokens are bytes; of others --ids gives the tokens, and tokens are printed.
 * Takes models with the names of Hugging Face exports: input_ids, and what there is of attention_mask and position_ids, and
 * past_key_values.N.key and .value with present.N.key and .value, in any of three forms:
 *
 *     the output grows in the input's buffer          tenon compile pairs them where the length has a largest size
 *     the output is longer by what was added          two buffers take turns
 *     both are a buffer of as many rows as there may be (--length, or the plan's), of which seqlens_k and total_sequence_length
 *     tell how many count (GroupQueryAttention)       one buffer, in which tenon compile lets the rows be replaced; with --no-alias two
 *
 * The caches of a prompt are empty.  Greedy: the token with the largest logit.  --no-cache computes everything anew for each token, which must give the same.  Text goes
 * to stdout, what it took to stderr. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/host.h>
#include <time.h>

enum { MAX_TENSORS = 512, MAX_TOKENS = 1 << 20 };

static void on_diag(void *user, const tn_diag *d) {
    static const char *const names[] = {"note", "warning", "error"};
    (void)user;
    if (d->severity == TN_NOTE) return;
    fprintf(stderr, "%s: %s%s%s\n", names[d->severity], d->loc, *d->loc ? ": " : "", d->message);
    if (*d->hint) fprintf(stderr, "  hint: %s\n", d->hint);
}

static const tn_env env = {.diag = on_diag};

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static tn_status fail(const char *what, const char *of) {
    fprintf(stderr, "error: %s%s%s\n", what, *of ? ": " : "", of);
    return TN_E_ARGUMENT;
}

/* ---- memory: the host's, or the GPU's through the driver ----------------------------------------------------------- */

typedef struct gpu {
    int (*alloc)(uint64_t *, size_t);
    int (*release)(uint64_t);
    int (*to_device)(uint64_t, const void *, size_t);
    int (*to_host)(void *, uint64_t, size_t);
} gpu;

/* The driver's functions; the context that tenon retained is made this thread's. */
static bool open_gpu(gpu *g) {
    const char *other = getenv("TENON_LIBCUDA");
    void *lib = dlopen(other ? other : "libcuda.so.1", RTLD_NOW), *at = lib ? dlsym(lib, "cuGetProcAddress_v2") : NULL;
    int (*find)(const char *, void **, int, uint64_t, void *), (*retain)(void **, int), (*push)(void *);
    void *context;
    const struct {
        void *function;
        const char *name;
    } functions[] = {{&g->alloc, "cuMemAlloc"},
                     {&g->release, "cuMemFree"},
                     {&g->to_device, "cuMemcpyHtoD"},
                     {&g->to_host, "cuMemcpyDtoH"},
                     {&retain, "cuDevicePrimaryCtxRetain"},
                     {&push, "cuCtxPushCurrent"}};
    if (!at) return false;
    memcpy(&find, &at, sizeof at);
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) {
        if (find(functions[k].name, &at, 12000, 0, NULL) || !at) return false;
        memcpy(functions[k].function, &at, sizeof at);
    }
    return !retain(&context, 0) && !push(context);
}

/* Zeros: rows of a cache that do not count yet must be numbers, which weigh nothing. */
static void *get_memory(const gpu *g, size_t bytes) {
    uint64_t at = 0;
    void *zeros = calloc(1, bytes + 16);
    if (!g || !zeros) return zeros;
    const bool there = !g->alloc(&at, bytes + 16), ok = there && !g->to_device(at, zeros, bytes + 16);
    if (there && !ok) g->release(at);
    free(zeros);
    return ok ? (void *)(uintptr_t)at : NULL;
}

static void free_memory(const gpu *g, void *p) {
    if (g && p) g->release((uint64_t)(uintptr_t)p);
    if (!g) free(p);
}

static bool put(const gpu *g, void *to, const void *from, size_t bytes) {
    if (g) return !g->to_device((uint64_t)(uintptr_t)to, from, bytes);
    memcpy(to, from, bytes);
    return true;
}

static bool get(const gpu *g, void *to, const void *from, size_t bytes) {
    if (g) return !g->to_host(to, (uint64_t)(uintptr_t)from, bytes);
    memcpy(to, from, bytes);
    return true;
}

/* ---- the model ------------------------------------------------------------------------------------------------------ */

typedef enum role { IDS, MASK, POSITIONS, LAST, TOTAL, CACHE } role;

typedef struct input {
    role role;
    void *data;         /* of a cache: what comes in */
    size_t output;      /* of a cache: where it goes out */
    void *other;        /* there; the same memory where it grows in place */
    uint32_t axis;      /* of tokens */
    bool shared, fixed; /* shared: grows in place; fixed: a buffer that has all rows from the beginning */
} input;

typedef struct model {
    tn_plan *plan;
    tn_context *context;
    const gpu *gpu; /* NULL: memory is the host's */
    input in[MAX_TENSORS];
    void *out[MAX_TENSORS];
    size_t logits;
    int64_t length; /* tokens that there is to be room for */
    int64_t *numbers;
    float *row;
} model;

static bool role_of(const char *name, role *r) {
    static const struct {
        const char *name;
        role role;
    } known[] = {{"input_ids", IDS},  {"attention_mask", MASK},         {"position_ids", POSITIONS},
                 {"seqlens_k", LAST}, {"total_sequence_length", TOTAL}, {"past", CACHE}};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (!strncmp(name, known[k].name, strlen(known[k].name))) return *r = known[k].role, true;
    return false;
}

/* What tokens need, which may be other than the plan has. */
static int64_t size_of(const model *m, const input *x, uint32_t axis, const tn_tensor_desc *d, int64_t n,
                       int64_t past) {
    const uint32_t of_tokens = x->role == CACHE ? x->axis : d->rank - 1;
    if (axis != of_tokens) return d->dims[axis] < 0 ? 1 : d->dims[axis];
    switch (x->role) {
    case IDS:
    case POSITIONS: return n;
    case MASK: return past + n;
    case CACHE: return !x->fixed ? past : d->dims[axis] < 0 ? m->length : d->dims[axis];
    default: return 1;
    }
}

static size_t bytes_of(const tn_tensor_desc *d, const int64_t *dims) {
    uint64_t n = 1;
    for (uint32_t k = 0; k < d->rank; k++) n *= (uint64_t)dims[k];
    return tn_dtype_bytes(d->dtype, n);
}

/* The axis of a cache that is no number, behind the batch. */
static uint32_t axis_of_tokens(const tn_tensor_desc *d) {
    uint32_t axis = 2;
    for (uint32_t k = 1; k < d->rank; k++)
        if (d->dims[k] < 0) axis = k;
    return axis;
}

static size_t present_of(const tn_plan *p, const char *past) {
    const char *rest = strncmp(past, "past_key_values", 15) ? past + 4 : past + 15;
    for (size_t k = 0; k < tn_plan_output_count(p); k++) {
        const char *name = tn_plan_output(p, k)->name;
        const size_t n = strlen(name), r = strlen(rest);
        if (!strncmp(name, "present", 7) && n >= r && !strcmp(name + n - r, rest)) return k;
    }
    return SIZE_MAX;
}

/* What the plan says of an input. */
static tn_status know_input(model *m, size_t k) {
    input *x = &m->in[k];
    const tn_tensor_desc *d = tn_plan_input(m->plan, k);
    if (!role_of(d->name, &x->role)) return fail("no decoder has such an input", d->name);
    if (x->role != CACHE)
        return d->dtype == TN_I64 || d->dtype == TN_I32 ? TN_OK : fail("it is neither i64 nor i32", d->name);
    x->output = present_of(m->plan, d->name);
    if (x->output == SIZE_MAX) return fail("no output is what becomes of the cache", d->name);
    x->axis = axis_of_tokens(d);
    if (x->axis >= d->rank) return fail("a cache has axes of heads, tokens and features", d->name);
    x->fixed = !strcmp(d->dim_text[x->axis], tn_plan_output(m->plan, x->output)->dim_text[x->axis]);
    if (x->fixed && d->dims[x->axis] >= 0 && d->dims[x->axis] < m->length)
        return fail("the cache has no rows for so many tokens", d->name);
    return TN_OK;
}

/* Of n tokens behind `past` others; which the plan may refuse. */
static tn_status give_shapes(model *m, int64_t n, int64_t past) {
    int64_t dims[TN_MAX_RANK];
    uint32_t rank;
    for (size_t k = 0; k < tn_plan_input_count(m->plan); k++) {
        const tn_tensor_desc *d = tn_plan_input(m->plan, k);
        for (uint32_t j = 0; j < d->rank; j++) dims[j] = size_of(m, &m->in[k], j, d, n, past);
        const tn_status s = tn_context_set_shape(m->context, k, d->rank, dims);
        if (s != TN_OK) return s;
    }
    return tn_context_output_shape(m->context, m->logits, &rank, dims); /* which asks whether they fit together */
}

/* Does the plan take the longest inferences that are asked for?  The runtime says what it does not; how large a cache's
 * buffer is says nothing: there is room in it for a prompt behind the longest cache. */
static tn_status check_room(model *m, int64_t prompt, int64_t tokens, bool no_cache) {
    const int64_t last = prompt + tokens - 1; /* as many tokens are read */
    char asked[120];
    tn_status s = give_shapes(m, no_cache ? last : prompt, 0);
    if (s == TN_OK && !no_cache && tokens > 1) s = give_shapes(m, 1, last - 1);
    if (s == TN_OK) return s;
    snprintf(asked, sizeof asked, "a prompt of %lld tokens and %lld behind it", (long long)prompt, (long long)tokens);
    return fail("the plan has no room for this", asked);
}

static tn_status make_cache(model *m, size_t k) {
    input *x = &m->in[k];
    const tn_tensor_desc *d = tn_plan_input(m->plan, k);
    int64_t dims[TN_MAX_RANK];
    for (uint32_t j = 0; j < d->rank; j++) dims[j] = size_of(m, x, j, d, 1, m->length);
    for (size_t a = 0; a < tn_plan_alias_count(m->plan); a++) {
        tn_alias how;
        if (!tn_plan_alias(m->plan, a, &how) || how.input != k) continue;
        x->shared = true;
        if (how.capacity) dims[x->axis] = how.capacity;
    }
    x->data = get_memory(m->gpu, bytes_of(d, dims));
    x->other = x->shared ? x->data : get_memory(m->gpu, bytes_of(d, dims));
    return x->data && x->other ? TN_OK : TN_E_MEMORY;
}

static tn_status open_model(model *m, int64_t prompt, int64_t tokens, bool no_cache) {
    tn_plan *p = m->plan;
    tn_status s = TN_OK;
    m->logits = tn_plan_find_output(p, "logits");
    if (tn_plan_input_count(p) > MAX_TENSORS || tn_plan_output_count(p) > MAX_TENSORS)
        return fail("too many inputs or outputs", "");
    if (m->logits == TN_NOT_FOUND) return fail("no output is called logits", "");
    const tn_dtype t = tn_plan_output(p, m->logits)->dtype;
    if (t != TN_F32 && t != TN_F16) return fail("the logits are neither f32 nor f16", "");
    for (size_t k = 0; s == TN_OK && k < tn_plan_input_count(p); k++) s = know_input(m, k);
    if (s == TN_OK) s = check_room(m, prompt, tokens, no_cache);
    for (size_t k = 0; s == TN_OK && k < tn_plan_input_count(p); k++) {
        if (m->in[k].role == CACHE)
            s = make_cache(m, k);
        else if (!(m->in[k].data = get_memory(m->gpu, (size_t)m->length * 8)))
            s = TN_E_MEMORY;
    }
    m->numbers = malloc((size_t)m->length * 8 + 16);
    return m->numbers ? s : TN_E_MEMORY;
}

static void close_model(model *m) {
    for (size_t k = 0; k < MAX_TENSORS; k++) {
        if (m->in[k].other != m->in[k].data) free_memory(m->gpu, m->in[k].other);
        free_memory(m->gpu, m->in[k].data);
    }
    free_memory(m->gpu, m->logits < MAX_TENSORS ? m->out[m->logits] : NULL);
    free(m->numbers);
    free(m->row);
}

/* ---- a step --------------------------------------------------------------------------------------------------------- */

static int64_t number(role r, const int64_t *ids, int64_t past, int64_t n, int64_t k) {
    switch (r) {
    case IDS: return ids[past + k];
    case POSITIONS: return past + k;
    case LAST: return past + n - 1;
    case TOTAL: return past + n;
    default: return 1;
    }
}

static tn_status put_numbers(model *m, const int64_t *ids, int64_t past, int64_t n) {
    for (size_t k = 0; k < tn_plan_input_count(m->plan); k++) {
        const input *x = &m->in[k];
        const tn_tensor_desc *d = tn_plan_input(m->plan, k);
        const int64_t count = x->role == MASK ? past + n : x->role == IDS || x->role == POSITIONS ? n : 1;
        if (x->role == CACHE) continue;
        for (int64_t i = 0; i < count; i++) {
            const int64_t v = number(x->role, ids, past, n, i);
            if (d->dtype == TN_I64)
                m->numbers[i] = v;
            else
                ((int32_t *)m->numbers)[i] = (int32_t)v;
        }
        if (!put(m->gpu, x->data, m->numbers, tn_dtype_bytes(d->dtype, (uint64_t)count))) return TN_E_CUDA;
    }
    return TN_OK;
}

static float of_half(uint16_t h) {
    const uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = h >> 10 & 31, rest = h & 1023;
    const uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | rest << 13;
    float f;
    memcpy(&f, &bits, 4);
    return exponent ? f : (sign ? -1.0f : 1.0f) * (float)rest * 0x1p-24f;
}

/* The token with the largest logit of the last row. */
static tn_status best(model *m, int64_t *token) {
    int64_t dims[TN_MAX_RANK];
    uint32_t rank;
    const tn_dtype t = tn_plan_output(m->plan, m->logits)->dtype;
    const tn_status s = tn_context_output_shape(m->context, m->logits, &rank, dims);
    if (s != TN_OK) return s;
    const int64_t vocabulary = dims[rank - 1], rows = rank > 1 ? dims[rank - 2] : 1;
    const size_t bytes = tn_dtype_bytes(t, (uint64_t)vocabulary);
    if (!m->row && !(m->row = malloc(bytes + 16))) return TN_E_MEMORY;
    if (!get(m->gpu, m->row, (const char *)m->out[m->logits] + bytes * (size_t)(rows - 1), bytes)) return TN_E_CUDA;
    float most = 0;
    *token = -1;
    for (int64_t k = 0; k < vocabulary; k++) {
        const float x = t == TN_F16 ? of_half(((const uint16_t *)m->row)[k]) : m->row[k];
        if (*token < 0 || x > most) most = x, *token = k;
    }
    return TN_OK;
}

/* Takes tokens past ... past + n - 1 of ids, behind those that the caches have, and says which comes next. */
static tn_status step(model *m, const int64_t *ids, int64_t past, int64_t n, int64_t *token) {
    const void *in[MAX_TENSORS];
    int64_t dims[TN_MAX_RANK];
    uint32_t rank;
    tn_status s = give_shapes(m, n, past);
    if (s == TN_OK) s = put_numbers(m, ids, past, n);
    if (s == TN_OK) s = tn_context_output_shape(m->context, m->logits, &rank, dims);
    if (s != TN_OK) return s;
    if (!m->out[m->logits]) { /* the first rows are the most, but for --no-cache */
        dims[rank - 2] = m->length;
        m->out[m->logits] = get_memory(
            m->gpu,
            bytes_of(&(tn_tensor_desc){.dtype = tn_plan_output(m->plan, m->logits)->dtype, .rank = rank}, dims));
        if (!m->out[m->logits]) return TN_E_MEMORY;
    }
    for (size_t k = 0; k < tn_plan_input_count(m->plan); k++) {
        in[k] = m->in[k].data;
        if (m->in[k].role == CACHE) m->out[m->in[k].output] = m->in[k].other;
    }
    s = tn_context_enqueue(m->context, in, m->out, NULL);
    if (s == TN_OK) s = best(m, token);
    for (size_t k = 0; k < tn_plan_input_count(m->plan); k++) {
        void *const was = m->in[k].data;
        if (m->in[k].role == CACHE) m->in[k].data = m->in[k].other, m->in[k].other = was;
    }
    return s;
}

/* ---- all ------------------------------------------------------------------------------------------------------------ */

typedef struct request {
    const char *plan, *prompt, *ids, *device;
    int64_t tokens, length;
    bool no_cache;
} request;

static void print_token(const request *r, int64_t token) {
    if (r->ids)
        printf(" %lld", (long long)token);
    else
        putchar((int)token);
    fflush(stdout);
}

static tn_status generate(model *m, const request *r, int64_t *ids, int64_t prompt) {
    const double start = now();
    double prefilled = start;
    tn_status s = TN_OK;
    for (int64_t n = prompt; s == TN_OK && n < prompt + r->tokens; n++) {
        const int64_t past = n == prompt || r->no_cache ? 0 : n - 1;
        s = step(m, ids, past, n - past, &ids[n]);
        if (s == TN_OK) print_token(r, ids[n]);
        if (n == prompt) prefilled = now();
    }
    const double read = prefilled - start, wrote = now() - prefilled;
    putchar('\n');
    fflush(stdout); /* before what stderr says */
    if (s == TN_OK)
        fprintf(stderr, "prompt of %lld tokens: %.2f ms, %.1f tokens a second; then %.1f tokens a second\n",
                (long long)prompt, 1e3 * read, read > 0 ? (double)prompt / read : 0,
                r->tokens > 1 && wrote > 0 ? (double)(r->tokens - 1) / wrote : 0);
    return s;
}

static int64_t read_prompt(const request *r, int64_t *ids, int64_t room) {
    int64_t n = 0;
    if (!r->ids) {
        for (const char *c = r->prompt; *c && n < room; c++) ids[n++] = (unsigned char)*c;
        return n;
    }
    for (char *at = (char *)(uintptr_t)r->ids, *end; *at && n < room; at = *end == ',' ? end + 1 : end) {
        ids[n++] = strtoll(at, &end, 10);
        if (end == at || (*end && *end != ','))
            return fail("--ids takes tokens between commas, and this is no number", at), -1;
    }
    return n;
}

static bool read_arguments(int argc, char **argv, request *r) {
    *r = (request){.device = "cuda", .tokens = 64};
    for (int k = 1; k < argc; k++) {
        const char *next = k + 1 < argc ? argv[k + 1] : NULL;
        if (!strcmp(argv[k], "--no-cache"))
            r->no_cache = true;
        else if (argv[k][0] != '-' && !r->plan)
            r->plan = argv[k];
        else if (!next)
            return false;
        else if (!strcmp(argv[k], "--prompt"))
            r->prompt = argv[++k];
        else if (!strcmp(argv[k], "--ids"))
            r->ids = argv[++k];
        else if (!strcmp(argv[k], "--tokens"))
            r->tokens = atoll(argv[++k]);
        else if (!strcmp(argv[k], "--length"))
            r->length = atoll(argv[++k]);
        else if (!strcmp(argv[k], "--device"))
            r->device = argv[++k];
        else
            return false;
    }
    const bool known = !strcmp(r->device, "cuda") || !strcmp(r->device, "cpu") || !strcmp(r->device, "emu");
    return r->plan && (r->prompt || r->ids) && known && r->tokens > 0 && r->tokens < MAX_TOKENS && r->length >= 0 &&
           r->length < MAX_TOKENS;
}

static tn_status run(const request *r, model *m, int64_t *ids) {
    const tn_device device = !strcmp(r->device, "cpu") ? TN_CPU : !strcmp(r->device, "emu") ? TN_EMU : TN_CUDA;
    const tn_context_options options = {.device = device, .host = tn_host_devices()};
    const int64_t prompt = read_prompt(r, ids, MAX_TOKENS);
    gpu driver;
    tn_status s = TN_OK;
    if (prompt < 0) return TN_E_ARGUMENT;
    if (!prompt) return fail("the prompt has no tokens", "");
    m->length = prompt + r->tokens - 1 > r->length ? prompt + r->tokens - 1 : r->length; /* the last is not read */
    m->plan = tn_plan_load(&env, r->plan, &s);
    if (!m->plan) return s;
    m->context = tn_context_new(m->plan, &options, &s);
    if (!m->context) return s;
    if (device == TN_CUDA && !open_gpu(&driver)) return fail("the CUDA driver cannot be used", "");
    m->gpu = device == TN_CUDA ? &driver : NULL;
    s = open_model(m, prompt, r->tokens, r->no_cache);
    if (s == TN_OK) s = generate(m, r, ids, prompt);
    close_model(m);
    return s;
}

int main(int argc, char **argv) {
    request r;
    if (!read_arguments(argc, argv, &r)) {
        fprintf(stderr,
                "usage: generate PLAN [--prompt TEXT | --ids 1,2,3] [--tokens N] [--length N] [--device cuda|cpu|emu] "
                "[--no-cache]\n");
        return tn_status_exit_code(TN_E_ARGUMENT);
    }
    model *m = calloc(1, sizeof *m);
    int64_t *ids = malloc(2 * (size_t)MAX_TOKENS * sizeof *ids);
    const tn_status s = m && ids ? run(&r, m, ids) : TN_E_MEMORY;
    if (m) tn_context_free(m->context), tn_plan_free(m->plan);
    free(m);
    free(ids);
    return tn_status_exit_code(s);
}
