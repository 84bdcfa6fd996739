/* control.c: nodes that own regions: kernel, if, loop. */
#include "ir/eval/run.h"

/* `n` zeroed slots; NULL when out of memory. */
static tn_slot *new_slots(tn_run *r, size_t n) {
    return tn_alloc(r->env, (n ? n : 1) * sizeof(tn_slot));
}

static void free_slots(tn_run *r, tn_slot *s, size_t n) {
    for (size_t k = 0; s && k < n; k++) tn_slot_drop(r, &s[k]);
    tn_free(r->env, s, (n ? n : 1) * sizeof(tn_slot));
}

/* A value of v's dtype as it is held now. */
static tn_status restore(tn_run *r, tn_val v, tn_slot *s) {
    tn_slot now;
    tn_dtype t = tn_ev_storage(&r->opts, tn_val_dtype(r->g, v));
    if (s->t.dtype == t) return TN_OK;
    TN_TRY(tn_slot_new(r, t, s->t.rank, s->t.dims, &now));
    if (tn_tensor_numel(&now.t) > 0) tn_ev_convert(&now.t, &s->t);
    tn_slot_drop(r, s);
    *s = now;
    return TN_OK;
}

tn_status tn_run_kernel(tn_run *r, tn_node n) {
    size_t n_in = tn_node_input_count(r->g, n), n_out = tn_node_result_count(r->g, n);
    tn_slot *s = new_slots(r, n_in + n_out);
    const tn_dtype outside = r->opts.loose;
    tn_status status = s ? TN_OK : tn_run_fail(r, n, TN_E_MEMORY, "out of memory");
    r->opts.loose = TN_ATTRS_OF(r->g, n, kernel)->loose;
    for (size_t k = 0; status == TN_OK && k < n_in; k++) {
        s[k] = tn_slot_share(&r->slots[tn_node_input(r->g, n, k).i]);
        status = restore(r, tn_node_input(r->g, n, k), &s[k]);
    }
    if (status == TN_OK) status = tn_run_region(r, tn_node_subregion(r->g, n, 0), s, n_in, s + n_in, n_out);
    r->opts.loose = outside;
    for (size_t k = 0; status == TN_OK && k < n_out; k++) status = restore(r, tn_node_result(r->g, n, k), &s[n_in + k]);
    if (status == TN_OK) status = tn_run_results(r, n, s + n_in, n_out);
    free_slots(r, s, n_in + n_out);
    return status;
}

static bool truth(const tn_slot *s) {
    return s->t.dtype != TN_DTYPE_NONE && tn_ev_get_i(&s->t, 0) != 0;
}

tn_status tn_run_if(tn_run *r, tn_node n) {
    size_t n_out = tn_node_result_count(r->g, n);
    bool yes = truth(&r->slots[tn_node_input(r->g, n, 0).i]);
    const tn_region taken = tn_node_subregion(r->g, n, yes ? 0 : 1);
    TN_TRY(tn_run_check_conditions(r, taken));
    tn_slot *s = new_slots(r, n_out);
    if (!s) return tn_run_fail(r, n, TN_E_MEMORY, "out of memory");
    tn_status status = tn_run_region(r, taken, NULL, 0, s, n_out);
    if (status == TN_OK) status = tn_run_results(r, n, s, n_out);
    free_slots(r, s, n_out);
    return status;
}

/* A scalar of an integer dtype. */
static tn_status scalar(tn_run *r, tn_dtype t, int64_t v, tn_slot *out) {
    TN_TRY(tn_slot_new(r, t, 0, NULL, out));
    tn_ev_store_i(&out->t, 0, 1, 1, &v);
    return TN_OK;
}

/* Appends one iteration's slice to a scan output that grows along axis 0 and has room for *room slices. */
static tn_status append(tn_run *r, tn_node n, tn_slot *all, const tn_tensor *slice, int64_t *room) {
    int64_t dims[TN_MAX_RANK], have = all->t.rank ? all->t.dims[0] : 0;
    size_t rank = slice->rank;
    if (have && memcmp(all->t.dims + 1, slice->dims, rank * sizeof(int64_t)) != 0)
        return tn_run_fail(r, n, TN_E_TYPE, "a scan output changes its shape in iteration %lld", (long long)have);
    size_t bytes = tn_dtype_bytes(slice->dtype, (uint64_t)tn_tensor_numel(slice));
    if (rank + 1 > TN_MAX_RANK) return tn_run_fail(r, n, TN_E_TYPE, "a scan output's rank is too high");
    if (have == *room) {
        tn_slot grown;
        *room = *room ? 2 * *room : 8;
        dims[0] = *room;
        memcpy(dims + 1, slice->dims, rank * sizeof(int64_t));
        TN_TRY(tn_slot_new(r, slice->dtype, rank + 1, dims, &grown));
        if (bytes && have) memcpy(grown.t.data, all->t.data, (size_t)have * bytes);
        tn_slot_drop(r, all);
        *all = grown;
    }
    if (bytes) memcpy((char *)all->t.data + (size_t)have * bytes, slice->data, bytes);
    all->t.dims[0] = have + 1;
    all->t.bytes = (size_t)(have + 1) * bytes;
    return TN_OK;
}

/* A scan output of a loop that never ran. */
static tn_status empty_scan(tn_run *r, tn_type type, tn_slot *out) {
    int64_t dims[TN_MAX_RANK] = {0};
    size_t rank = tn_type_rank(r->g, type);
    for (size_t k = 1; k < rank; k++)
        if (!tn_run_dim(r, tn_type_dims(r->g, type)[k], &dims[k])) dims[k] = 0;
    return tn_slot_new(r, tn_ev_storage(&r->opts, tn_type_dtype(r->g, type)), rank, dims, out);
}

/* One iteration: `state` holds the condition and the carried values and is replaced by the yielded ones. */
static tn_status iterate(tn_run *r, tn_node n, int64_t i, tn_slot *state, size_t carried, tn_slot *scans,
                         int64_t *rooms, size_t n_scans) {
    size_t n_args = carried + 2, n_yields = carried + 1 + n_scans;
    tn_slot *s = new_slots(r, n_args + n_yields);
    if (!s) return tn_run_fail(r, n, TN_E_MEMORY, "out of memory");
    tn_status status = scalar(r, TN_I64, i, &s[0]);
    for (size_t k = 0; status == TN_OK && k < carried + 1; k++) s[1 + k] = tn_slot_share(&state[k]);
    const size_t n_bind = r->n_bind; /* sizes that depend on data hold for one iteration */
    if (status == TN_OK) status = tn_run_region(r, tn_node_subregion(r->g, n, 0), s, n_args, s + n_args, n_yields);
    r->n_bind = n_bind;
    for (size_t k = 0; status == TN_OK && k < carried + 1; k++) {
        tn_slot_drop(r, &state[k]);
        state[k] = tn_slot_share(&s[n_args + k]);
    }
    for (size_t k = 0; status == TN_OK && k < n_scans; k++)
        status = append(r, n, &scans[k], &s[n_args + carried + 1 + k].t, &rooms[k]);
    free_slots(r, s, n_args + n_yields);
    return status;
}

tn_status tn_run_loop(tn_run *r, tn_node n) {
    size_t n_in = tn_node_input_count(r->g, n), n_out = tn_node_result_count(r->g, n), carried = n_in - 2;
    size_t n_scans = n_out - carried;
    tn_val trips = tn_node_input(r->g, n, 0), cond = tn_node_input(r->g, n, 1);
    int64_t limit = trips.i ? tn_ev_get_i(&r->slots[trips.i].t, 0) : INT64_MAX;
    tn_slot *s = new_slots(r, 1 + n_out); /* condition, carried values, scan outputs */
    int64_t *rooms = tn_alloc(r->env, (n_scans + 1) * sizeof *rooms);
    tn_status status = s && rooms ? TN_OK : tn_run_fail(r, n, TN_E_MEMORY, "out of memory");
    if (status == TN_OK) status = scalar(r, TN_BOOL, !cond.i || truth(&r->slots[cond.i]), &s[0]);
    for (size_t k = 0; status == TN_OK && k < carried; k++)
        s[1 + k] = tn_slot_share(&r->slots[tn_node_input(r->g, n, 2 + k).i]);
    if (status == TN_OK && limit > 0 && truth(&s[0]))
        status = tn_run_check_conditions(r, tn_node_subregion(r->g, n, 0));
    for (int64_t i = 0; status == TN_OK && i < limit && truth(&s[0]); i++)
        status = iterate(r, n, i, s, carried, s + 1 + carried, rooms, n_scans);
    for (size_t k = 0; status == TN_OK && k < n_scans; k++)
        if (!s[1 + carried + k].t.rank)
            status = empty_scan(r, tn_val_type(r->g, tn_node_result(r->g, n, carried + k)), &s[1 + carried + k]);
    if (status == TN_OK) status = tn_run_results(r, n, s + 1, n_out);
    free_slots(r, s, 1 + n_out);
    tn_free(r->env, rooms, (n_scans + 1) * sizeof *rooms);
    return status;
}
