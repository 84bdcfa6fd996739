/* config.c: a model's configuration, completed from the plan and held against it.
 *
 * What config.pbtxt says stands; what it leaves out comes from the plan: inputs and outputs, their types and sizes.  Where it
 * lists no inputs and outputs and no largest batch, and the plan has one free size as axis 0 of them all, that becomes the batch,
 * put together dynamically.  Inputs that a sequence's states or controls give are in the plan, but not in `input`. */
#include "frontend/triton/backend.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const type_names[] = {
#define X(number, name, dtype) [number] = name,
    TRITON_TYPES(X)
#undef X
};

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

triton_error *config_read(const model *m, json_object **out) {
    triton_message *message;
    const char *text;
    size_t size;
    TRY(m->f->ModelConfig(m->handle, TRITON_CONFIG_VERSION, &message));
    triton_error *e = m->f->MessageSerializeToJson(message, &text, &size);
    json_tokener *t = json_tokener_new();
    *out = !e && t ? json_tokener_parse_ex(t, text, (int)size) : NULL;
    if (t) json_tokener_free(t);
    if (!e && !*out) e = error_new(m->f, TRITON_INTERNAL, "tenon: %s: its configuration cannot be read", m->name);
    m->f->MessageDelete(message);
    return e;
}

static json_object *member(const json_object *o, const char *key) {
    json_object *v = NULL;
    return o && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

const char *config_text(const json_object *o, const char *key) {
    json_object *v = member(o, key);
    return v ? json_object_get_string(v) : "";
}

static size_t length(const json_object *list) {
    return list ? json_object_array_length(list) : 0;
}

/* The entry of a list with this text under `key`. */
static json_object *entry(const json_object *list, const char *key, const char *text) {
    for (size_t k = 0; k < length(list); k++) {
        json_object *e = json_object_array_get_idx(list, k);
        if (!strcmp(config_text(e, key), text)) return e;
    }
    return NULL;
}

/* ---- completing -------------------------------------------------------------------------------------------------- */

static json_object *sequence_of(const json_object *config) {
    return member(config, "sequence_batching");
}

/* Whether a sequence gives the input. */
static bool given_by_sequence(const json_object *config, const char *input) {
    const json_object *s = sequence_of(config);
    return entry(member(s, "state"), "input_name", input) || entry(member(s, "control_input"), "name", input);
}

static json_object *dims_json(const tensor *t, uint32_t first) {
    json_object *dims = json_object_new_array();
    for (uint32_t k = first; k < t->d->rank; k++) json_object_array_add(dims, json_object_new_int64(t->d->dims[k]));
    return dims;
}

/* Fills in a tensor's type and sizes.  Triton has no tensor without sizes: it asks for [1] and is told how the plan sees it. */
static void complete_tensor(json_object *e, const tensor *t, bool batched) {
    const char *type = config_text(e, "data_type");
    char text[32];
    snprintf(text, sizeof text, "TYPE_%s", type_names[t->type]);
    if (!*type || !strcmp(type, "TYPE_INVALID")) json_object_object_add(e, "data_type", json_object_new_string(text));
    if (length(member(e, "dims"))) return;
    json_object *dims = dims_json(t, batched);
    if (!length(dims)) {
        json_object *reshape = json_object_new_object();
        json_object_object_add(reshape, "shape", json_object_new_array());
        json_object_object_add(e, "reshape", reshape);
        json_object_array_add(dims, json_object_new_int(1));
    }
    json_object_object_add(e, "dims", dims);
}

static void complete_list(json_object *config, const char *key, const tensor *of, size_t n, bool batched) {
    json_object *list = member(config, key);
    if (!list) json_object_object_add(config, key, list = json_object_new_array());
    const bool outputs = !strcmp(key, "output");
    for (size_t k = 0; k < n; k++) {
        const char *name = of[k].d->name;
        json_object *e = entry(list, "name", name);
        if (!e && (outputs ? entry(member(sequence_of(config), "state"), "output_name", name) != NULL
                           : given_by_sequence(config, name)))
            continue;
        if (!e) {
            json_object_array_add(list, e = json_object_new_object());
            json_object_object_add(e, "name", json_object_new_string(name));
        }
        complete_tensor(e, &of[k], batched);
    }
}

static int64_t max_batch_of(const json_object *config) {
    const json_object *v = member(config, "max_batch_size");
    return v ? json_object_get_int64(v) : 0;
}

/* A largest batch, where the configuration has nothing that was written for another one. */
static void complete_batch(const model *m, json_object *config) {
    const int64_t most = batch_most(m);
    if (max_batch_of(config) || length(member(config, "input")) || length(member(config, "output")) || most < 2) return;
    const int64_t n = most == INT64_MAX ? m->b->default_max_batch : most > INT32_MAX ? INT32_MAX : most;
    json_object_object_add(config, "max_batch_size", json_object_new_int64(n));
    if (n > 1 && !sequence_of(config) && !member(config, "dynamic_batching") && !member(config, "ensemble_scheduling"))
        json_object_object_add(config, "dynamic_batching", json_object_new_object());
}

static triton_error *complete(const model *m, json_object *config) {
    complete_batch(m, config);
    const bool batched = max_batch_of(config) > 0;
    complete_list(config, "input", m->in, m->n_in, batched);
    complete_list(config, "output", m->out, m->n_out, batched);
    const char *text = json_object_to_json_string(config);
    triton_message *message;
    if (!text) return error_new(m->f, TRITON_UNAVAILABLE, "tenon: %s: out of memory", m->name);
    TRY(m->f->MessageNewFromSerializedJson(&message, text, strlen(text)));
    triton_error *e = m->f->ModelSetConfig(m->handle, TRITON_CONFIG_VERSION, message);
    m->f->MessageDelete(message);
    return e;
}

/* ---- checking ---------------------------------------------------------------------------------------------------- */

static const tensor *find(const tensor *list, size_t n, const char *name) {
    for (size_t k = 0; k < n; k++)
        if (!strcmp(list[k].d->name, name)) return &list[k];
    return NULL;
}

static void names_of(const tensor *list, size_t n, char *buf, size_t size) {
    size_t used = 0;
    buf[0] = 0;
    for (size_t k = 0; k < n && used < size; k++)
        used += (size_t)snprintf(buf + used, size - used, "%s%s", k ? ", " : "", list[k].d->name);
}

/* "FP32[N,3,224]" of the plan. */
static void plan_text(const tensor *t, uint32_t first, char *buf, size_t size) {
    size_t used = (size_t)snprintf(buf, size, "%s[", type_names[t->type]);
    for (uint32_t k = first; k < t->d->rank && used < size; k++)
        used += (size_t)snprintf(buf + used, size - used, "%s%s", k > first ? "," : "", t->d->dim_text[k]);
    if (used < size) snprintf(buf + used, size - used, "]");
}

/* Whether an entry's type and sizes are the tensor's; a size that either leaves open fits. */
static triton_error *check_type(const model *m, const char *what, const json_object *e, const tensor *t) {
    const uint32_t first = m->max_batch > 0;
    const json_object *reshape = member(e, "reshape");
    const json_object *dims = reshape ? member(reshape, "shape") : member(e, "dims");
    const char *type = config_text(e, "data_type");
    bool fits =
        length(dims) == t->d->rank - first && !strncmp(type, "TYPE_", 5) && !strcmp(type + 5, type_names[t->type]);
    for (uint32_t k = first; fits && k < t->d->rank; k++) {
        const int64_t d = json_object_get_int64(json_object_array_get_idx(dims, k - first));
        fits = d < 0 || t->d->dims[k] < 0 || d == t->d->dims[k];
    }
    if (fits) return NULL;
    char want[512];
    plan_text(t, first, want, sizeof want);
    return error_new(m->f, TRITON_INVALID_ARGUMENT,
                     "tenon: %s: the configuration's %s '%s' is %s%s, but the plan's is %s%s", m->name, what,
                     t->d->name, *type ? type : "without a type",
                     dims ? json_object_to_json_string((json_object *)(uintptr_t)dims) : "[]", want,
                     first ? " behind the batch" : "");
}

static triton_error *unknown(const model *m, const char *what, const char *name, const tensor *list, size_t n) {
    char names[512];
    names_of(list, n, names, sizeof names);
    return error_new(m->f, TRITON_INVALID_ARGUMENT,
                     "tenon: %s: the configuration has %s '%s', which the plan has not (it has %s)", m->name, what,
                     name, names);
}

static triton_error *check_entry(const model *m, const char *what, const json_object *e, const char *key,
                                 const tensor *list, size_t n) {
    const char *name = config_text(e, key);
    const tensor *t = find(list, n, name);
    return t ? check_type(m, what, e, t) : unknown(m, what, name, list, n);
}

static triton_error *check_inputs(const model *m, const json_object *config) {
    const json_object *list = member(config, "input"), *controls = member(sequence_of(config), "control_input");
    for (size_t k = 0; k < length(list); k++)
        TRY(check_entry(m, "input", json_object_array_get_idx(list, k), "name", m->in, m->n_in));
    for (size_t k = 0; k < length(controls); k++) {
        const char *name = config_text(json_object_array_get_idx(controls, k), "name");
        if (!find(m->in, m->n_in, name)) return unknown(m, "control input", name, m->in, m->n_in);
    }
    for (size_t k = 0; k < m->n_in; k++) {
        const char *name = m->in[k].d->name;
        if (!entry(list, "name", name) && !given_by_sequence(config, name))
            return error_new(m->f, TRITON_INVALID_ARGUMENT,
                             "tenon: %s: the plan's input '%s' is not in the configuration's input", m->name, name);
    }
    return NULL;
}

static triton_error *check_outputs(model *m, const json_object *config) {
    const json_object *list = member(config, "output");
    for (size_t k = 0; k < length(list); k++)
        TRY(check_entry(m, "output", json_object_array_get_idx(list, k), "name", m->out, m->n_out));
    for (size_t k = 0; k < m->n_out; k++) m->out[k].answers = entry(list, "name", m->out[k].d->name) != NULL;
    return NULL;
}

static triton_error *check_states(model *m, const json_object *config) {
    const json_object *list = member(sequence_of(config), "state");
    for (size_t k = 0; k < length(list); k++) {
        const json_object *e = json_object_array_get_idx(list, k);
        TRY(check_entry(m, "state's input", e, "input_name", m->in, m->n_in));
        TRY(check_entry(m, "state's output", e, "output_name", m->out, m->n_out));
    }
    for (size_t k = 0; k < m->n_out; k++) m->out[k].state = entry(list, "output_name", m->out[k].d->name) != NULL;
    return NULL;
}

static triton_error *check(model *m, const json_object *config) {
    m->max_batch = max_batch_of(config);
    if (json_object_get_boolean(member(member(config, "model_transaction_policy"), "decoupled")))
        return error_new(m->f, TRITON_UNSUPPORTED, "tenon: %s: it is decoupled, but a plan answers each request once",
                         m->name);
    TRY(batch_settle(m));
    TRY(check_inputs(m, config));
    TRY(check_outputs(m, config));
    return check_states(m, config);
}

triton_error *config_settle(model *m) {
    json_object *config = NULL;
    bool wanted = false;
    TRY(m->f->ModelAutoCompleteConfig(m->handle, &wanted));
    TRY(config_read(m, &config));
    triton_error *e = wanted ? complete(m, config) : NULL;
    json_object_put(config);
    config = NULL;
    if (!e) e = config_read(m, &config); /* as Triton has it now */
    if (!e) e = check(m, config);
    json_object_put(config);
    return e;
}
