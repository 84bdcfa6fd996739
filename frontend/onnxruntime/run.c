/* run.c: a plan runs a fused node.
 *
 * Sessions run on many threads at once, and a tn_context belongs to one: each run takes a context that is idle, or makes one, and
 * gives it back.  All share the plan's weights.  Where tensors stay on the GPU, a run ends while its work goes on: a context is
 * then given to runs on the same stream only.  ONNX Runtime leaves what another provider made in the host's memory (up to 1.32 at
 * least the copies that it puts between are made in there, too): such inputs are brought here. */
#include "frontend/onnxruntime/provider.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Memory that is kept from run to run. */
typedef struct held {
    void *p;
    size_t size;
} held;

typedef struct slot slot;
struct slot {
    slot *next;
    tn_context *x;
    void *stream;
    held *made;      /* by output: of those that data makes a size of */
    held *brought;   /* by input: of those that came in the host's memory */
    gpu_memory *gpu; /* whose memory that is; NULL: the host's */
};

typedef struct runner {
    ort_compute base;
    provider *p;
    tn_plan *plan;
    void *bytes; /* that the plan lies in; NULL: a file */
    size_t size;
    size_t n_in, n_out;
    size_t *in, *out; /* of the plan's inputs and outputs: which of the node's */
    bool *made;       /* by output: data makes a size of it */
    pthread_mutex_t lock;
    slot *idle; /* guarded by it */
} runner;

/* ---- making one -------------------------------------------------------------------------------------------------- */

static ort_status *no_memory(const runner *r) {
    return r->p->f->CreateStatus(ORT_EP_FAIL, "out of memory");
}

/* Whether `word` stands in a size of some input. */
static bool in_inputs(const tn_plan *p, const char *word, size_t n) {
    for (size_t k = 0; k < tn_plan_input_count(p); k++) {
        const tn_tensor_desc *d = tn_plan_input(p, k);
        for (uint32_t i = 0; i < d->rank; i++)
            for (const char *at = d->dim_text[i]; (at = strstr(at, word)); at++)
                if (!strncmp(at, word, n) &&
                    (at == d->dim_text[i] || !(isalnum((unsigned char)at[-1]) || at[-1] == '_')) &&
                    !(isalnum((unsigned char)at[n]) || at[n] == '_'))
                    return true;
    }
    return false;
}

/* Whether an output's sizes name a symbol that no input has: one that is made of data. */
static bool is_made(const tn_plan *p, const tn_tensor_desc *d) {
    for (uint32_t i = 0; i < d->rank; i++)
        for (const char *at = d->dim_text[i]; *at;) {
            size_t n = 0;
            while (isalnum((unsigned char)at[n]) || at[n] == '_') n++;
            char word[64];
            if (n && !isdigit((unsigned char)*at) && n < sizeof word) {
                static const char *const functions[] = {"min", "max", "mod", "ceildiv", "floordiv"};
                bool known = false;
                memcpy(word, at, n);
                word[n] = 0;
                for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) known |= !strcmp(word, functions[k]);
                if (!known && !in_inputs(p, word, n)) return true;
            }
            at += n ? n : 1;
        }
    return false;
}

static ort_status *create_state(ort_compute *self, ort_compute_context *c, void **state) {
    (void)c;
    *state = self;
    return NULL;
}

static void release_state(ort_compute *self, void *state) {
    (void)self, (void)state;
}

static ort_status *compute(ort_compute *self, void *state, ort_kernel_context *c);

ort_status *runner_new(provider *p, tn_plan *plan, void *bytes, size_t size, ort_compute **out) {
    runner *r = tn_alloc(&p->env, sizeof *r);
    if (!r) {
        tn_plan_free(plan);
        tn_free(&p->env, bytes, size);
        return p->f->CreateStatus(ORT_EP_FAIL, "out of memory");
    }
    r->base = (ort_compute){ORT_VERSION, create_state, compute, release_state};
    r->p = p;
    r->plan = plan;
    r->bytes = bytes;
    r->size = size;
    r->n_in = tn_plan_input_count(plan);
    r->n_out = tn_plan_output_count(plan);
    pthread_mutex_init(&r->lock, NULL);
    *out = &r->base;
    r->in = tn_alloc(&p->env, (r->n_in + 1) * sizeof *r->in);
    r->out = tn_alloc(&p->env, (r->n_out + 1) * sizeof *r->out);
    r->made = tn_alloc(&p->env, r->n_out + 1);
    if (!r->in || !r->out || !r->made) return no_memory(r);
    for (size_t k = 0; k < r->n_out; k++) r->made[k] = is_made(plan, tn_plan_output(plan, k));
    return NULL;
}

static ort_status *find(const runner *r, const char *name, const ort_value_info *const *list, size_t n, size_t *out) {
    for (*out = 0; *out < n; ++*out) {
        const char *other = "";
        if (list[*out]) TRY(r->p->f->GetValueInfoName(list[*out], &other));
        if (!strcmp(name, other)) return NULL;
    }
    return ort_error_of(r->p->f, ORT_INVALID_ARGUMENT, "%s: the plan has '%s', which the node has not", ORT_PROVIDER,
                        name);
}

ort_status *runner_bind(ort_compute *c, const ort_value_info *const *in, size_t n_in, const ort_value_info *const *out,
                        size_t n_out) {
    runner *r = (runner *)c;
    for (size_t k = 0; k < r->n_in; k++) TRY(find(r, tn_plan_input(r->plan, k)->name, in, n_in, &r->in[k]));
    for (size_t k = 0; k < r->n_out; k++) TRY(find(r, tn_plan_output(r->plan, k)->name, out, n_out, &r->out[k]));
    return NULL;
}

const tn_plan *runner_plan(const ort_compute *c) {
    return ((const runner *)c)->plan;
}

/* ---- contexts ---------------------------------------------------------------------------------------------------- */

static void drop(const slot *s, held *h, size_t n) {
    for (size_t k = 0; h && k < n; k++) {
        if (s->gpu)
            gpu_free(s->gpu, h[k].p);
        else
            free(h[k].p);
    }
}

/* NULL: there is too little.  What was there is lost where it grows. */
static void *hold(const slot *s, held *h, size_t size) {
    if (size <= h->size && h->p) return h->p;
    drop(s, h, 1);
    h->p = s->gpu ? gpu_alloc(s->gpu, size + 16) : malloc(size + 16);
    h->size = h->p ? size : 0;
    return h->p;
}

static void free_slot(runner *r, slot *s) {
    if (!s) return;
    tn_context_free(s->x); /* waits */
    drop(s, s->made, r->n_out);
    drop(s, s->brought, r->n_in);
    tn_free(&r->p->env, s->made, (r->n_out + 1) * sizeof *s->made);
    tn_free(&r->p->env, s->brought, (r->n_in + 1) * sizeof *s->brought);
    tn_free(&r->p->env, s, sizeof *s);
}

void runner_free(ort_compute *c) {
    runner *r = (runner *)c;
    if (!r) return;
    const tn_env *env = &r->p->env;
    while (r->idle) {
        slot *s = r->idle;
        r->idle = s->next;
        free_slot(r, s);
    }
    tn_plan_free(r->plan);
    tn_free(env, r->bytes, r->size);
    tn_free(env, r->in, (r->n_in + 1) * sizeof *r->in);
    tn_free(env, r->out, (r->n_out + 1) * sizeof *r->out);
    tn_free(env, r->made, r->n_out + 1);
    pthread_mutex_destroy(&r->lock);
    tn_free(env, r, sizeof *r);
}

/* Memory for an output that data makes a size of. */
static void *give_memory(void *user, size_t k, const char *name, size_t bytes, void *stream) {
    const slot *s = user;
    (void)name, (void)stream;
    return hold(s, &s->made[k], bytes);
}

static ort_status *new_slot(runner *r, slot **out) {
    const tn_env *env = &r->p->env;
    const options *o = &r->p->o;
    tn_status st = TN_OK;
    slot *s = tn_alloc(env, sizeof *s);
    if (!s) return no_memory(r);
    s->gpu = o->resident ? r->p->gpu : NULL;
    s->made = tn_alloc(env, (r->n_out + 1) * sizeof *s->made);
    s->brought = tn_alloc(env, (r->n_in + 1) * sizeof *s->brought);
    const tn_context_options c = {.device = o->device,
                                  .cuda_device = o->cuda_device,
                                  .no_cuda_graph = o->no_cuda_graph,
                                  .host = tn_host_devices()};
    if (s->made && s->brought) s->x = tn_context_new(r->plan, &c, &st);
    const tn_output_allocator memory = {.allocate = give_memory, .user = s};
    for (size_t k = 0; s->x && st == TN_OK && k < r->n_out; k++)
        if (r->made[k]) st = tn_context_set_output_allocator(s->x, k, &memory);
    if (s->x && st == TN_OK) return *out = s, NULL;
    ort_status *e = s->made && s->brought ? ort_of(r->p, st) : no_memory(r);
    free_slot(r, s);
    return e;
}

static ort_status *take_slot(runner *r, void *stream, slot **out) {
    pthread_mutex_lock(&r->lock);
    slot **at = &r->idle;
    while (*at && (*at)->stream != stream) at = &(*at)->next;
    *out = *at;
    if (*at) *at = (*at)->next;
    pthread_mutex_unlock(&r->lock);
    if (!*out) TRY(new_slot(r, out));
    (*out)->stream = stream;
    return NULL;
}

static void give_slot(runner *r, slot *s) {
    pthread_mutex_lock(&r->lock);
    s->next = r->idle;
    r->idle = s;
    pthread_mutex_unlock(&r->lock);
}

/* ---- a run ------------------------------------------------------------------------------------------------------- */

/* From the host's memory. */
static ort_status *bring(runner *r, slot *s, size_t k, const ort_value *v, const void **data) {
    size_t bytes = 0;
    TRY(r->p->f->GetTensorSizeInBytes(v, &bytes));
    if (!bytes) return NULL;
    void *to = hold(s, &s->brought[k], bytes);
    if (!to) return no_memory(r);
    TRY(gpu_upload(s->gpu, to, *data, bytes, s->stream));
    *data = to;
    return NULL;
}

static size_t bytes_of(const tn_tensor_desc *d, uint32_t rank, const int64_t *dims) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < rank; i++) n *= (uint64_t)dims[i];
    return tn_dtype_bytes(d->dtype, n);
}

static ort_status *set_input(runner *r, slot *s, ort_kernel_context *c, size_t k, const void **data, size_t *bytes) {
    const ort_functions *f = r->p->f;
    const ort_value *v = NULL;
    ort_tensor_info *info;
    size_t rank;
    int64_t dims[TN_MAX_RANK];
    TRY(f->KernelContext_GetInput(c, r->in[k], &v));
    if (!v) return f->CreateStatus(ORT_INVALID_ARGUMENT, ORT_PROVIDER ": an input is missing");
    TRY(f->GetTensorTypeAndShape(v, &info));
    ort_status *e = f->GetDimensionsCount(info, &rank);
    if (!e && rank > TN_MAX_RANK)
        e = f->CreateStatus(ORT_INVALID_ARGUMENT, ORT_PROVIDER ": a tensor's rank is above 8");
    if (!e && rank) e = f->GetDimensions(info, dims, rank);
    f->ReleaseTensorTypeAndShapeInfo(info);
    if (e) return e;
    TRY(f->GetTensorData(v, data));
    if (*data && s->gpu && !gpu_has(s->gpu, v)) TRY(bring(r, s, k, v, data));
    *bytes = bytes_of(tn_plan_input(r->plan, k), (uint32_t)rank, dims);
    if (!*data) *data = s; /* of no elements: not read */
    return ort_of(r->p, tn_context_set_shape(s->x, k, (uint32_t)rank, dims));
}

static ort_status *set_output(runner *r, slot *s, ort_kernel_context *c, size_t k, uint32_t rank, const int64_t *dims,
                              void **data) {
    const ort_functions *f = r->p->f;
    ort_value *v = NULL;
    TRY(f->KernelContext_GetOutput(c, r->out[k], dims, rank, &v));
    TRY(f->GetTensorMutableData(v, data));
    if (!*data) *data = s; /* of no elements: not written */
    return NULL;
}

/* Copies an output whose size is known now. */
static ort_status *copy_made(runner *r, slot *s, ort_kernel_context *c, size_t k) {
    uint32_t rank;
    int64_t dims[TN_MAX_RANK];
    void *to;
    TRY(ort_of(r->p, tn_context_output_shape(s->x, k, &rank, dims)));
    TRY(set_output(r, s, c, k, rank, dims, &to));
    const size_t bytes = bytes_of(tn_plan_output(r->plan, k), rank, dims);
    if (!bytes) return NULL;
    if (s->gpu) return gpu_copy(s->gpu, to, s->made[k].p, bytes, s->stream);
    memcpy(to, s->made[k].p, bytes);
    return NULL;
}

/* Output k has the rows of input i, but for some that are replaced: both may be one buffer. */
static bool may_share(const runner *r, size_t i, size_t k) {
    tn_alias a;
    for (size_t n = 0; tn_plan_alias(r->plan, n, &a); n++)
        if (a.input == i && a.output == k) return true;
    return false;
}

/* Kernels read inputs while they write outputs: in one buffer, they would be wrong at times. */
static ort_status *is_apart(const runner *r, const void *const *in, const size_t *bytes, size_t k, const void *out,
                            size_t size) {
    for (size_t i = 0; i < r->n_in; i++) {
        const uintptr_t a = (uintptr_t)in[i], b = (uintptr_t)out;
        const char *to = tn_plan_output(r->plan, k)->name, *from = tn_plan_input(r->plan, i)->name;
        if (size && bytes[i] && a < b + size && b < a + bytes[i] && !(a == b && may_share(r, i, k)))
            return ort_error_of(r->p->f, ORT_INVALID_ARGUMENT,
                                "%s: the output '%s' is bound to memory of the input '%s', which is read while it is "
                                "written: give it memory of its own, and the next run that as '%s' (a cache of "
                                "GroupQueryAttention may be one "
                                "buffer, from the same byte on, where the model's sizes or the option "
                                "past_present_share_buffer say that it "
                                "does not grow)",
                                ORT_PROVIDER, to, from, from);
    }
    return NULL;
}

/* Plans put rows in place: what came in goes where it will go out, unless it is there. */
static ort_status *move_in_place(const runner *r, const slot *s, const void **in, const size_t *bytes,
                                 void *const *out) {
    tn_alias a;
    for (size_t n = 0; tn_plan_alias(r->plan, n, &a); n++) {
        if (in[a.input] == out[a.output]) continue;
        if (bytes[a.input] && s->gpu)
            TRY(gpu_copy(s->gpu, out[a.output], in[a.input], bytes[a.input], s->stream));
        else if (bytes[a.input])
            memcpy(out[a.output], in[a.input], bytes[a.input]);
        in[a.input] = out[a.output];
    }
    return NULL;
}

static ort_status *run(runner *r, slot *s, ort_kernel_context *c, const void **in, size_t *bytes, void **out) {
    bool made = false;
    for (size_t k = 0; k < r->n_in; k++) TRY(set_input(r, s, c, k, &in[k], &bytes[k]));
    for (size_t k = 0; k < r->n_out; k++) {
        uint32_t rank;
        int64_t dims[TN_MAX_RANK];
        made |= r->made[k];
        out[k] = NULL;
        if (r->made[k]) continue;
        TRY(ort_of(r->p, tn_context_output_most(s->x, k, &rank, dims)));
        TRY(set_output(r, s, c, k, rank, dims, &out[k]));
        TRY(is_apart(r, in, bytes, k, out[k], bytes_of(tn_plan_output(r->plan, k), rank, dims)));
    }
    if (r->p->o.device == TN_CUDA && !r->p->o.resident) {
        TRY(ort_of(r->p, tn_context_run(s->x, in, out))); /* to the GPU and back */
    } else {
        TRY(move_in_place(r, s, in, bytes, out));
        TRY(ort_of(r->p, tn_context_enqueue(s->x, in, out, s->stream)));
        if (made) TRY(ort_of(r->p, tn_context_hand_over(s->x, s->stream)));
    }
    for (size_t k = 0; k < r->n_out; k++)
        if (r->made[k]) TRY(copy_made(r, s, c, k));
    return NULL;
}

static ort_status *compute(ort_compute *self, void *state, ort_kernel_context *c) {
    runner *r = state;
    slot *s = NULL;
    void *stream = NULL;
    (void)self;
    if (r->p->o.resident) TRY(r->p->f->KernelContext_GetGPUComputeStream(c, &stream));
    TRY(take_slot(r, stream, &s));
    const void **in = tn_alloc(&r->p->env, (r->n_in + 1) * sizeof *in);
    size_t *bytes = tn_alloc(&r->p->env, (r->n_in + 1) * sizeof *bytes);
    void **out = tn_alloc(&r->p->env, (r->n_out + 1) * sizeof *out);
    ort_status *e = in && bytes && out ? run(r, s, c, in, bytes, out) : no_memory(r);
    tn_free(&r->p->env, in, (r->n_in + 1) * sizeof *in);
    tn_free(&r->p->env, bytes, (r->n_in + 1) * sizeof *bytes);
    tn_free(&r->p->env, out, (r->n_out + 1) * sizeof *out);
    give_slot(r, s);
    return e;
}
