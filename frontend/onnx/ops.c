/* ops.c: the tables of operators, for the importer and for whoever asks what it knows. */
#include "frontend/onnx/ops.h"
#include "frontend/onnx/value.h"

#include <string.h>

enum { LAST = 1 << 20 };

static const tn_oi_row rows[] = {
#define ONNX_OP(domain, name, since, until, fn, op) {domain, #name, since, until, tn_oi_op_##fn, TN_OP_##op},
#include "frontend/onnx/onnx_ops.def"
};
enum { ROWS = sizeof rows / sizeof *rows };

typedef struct refusal {
    const char *domain, *name, *why;
} refusal;

static const refusal refusals[] = {
#define ONNX_REFUSED(domain, name, why) {domain, name, why},
#include "frontend/onnx/onnx_ops.def"
};
enum { REFUSALS = sizeof refusals / sizeof *refusals };

typedef struct fact {
    const char *domain, *name, *versions, *types, *without, *decided;
} fact;

static const fact facts[] = {
#define ONNX_FACT(domain, name, versions, types, without, decided) {domain, #name, versions, types, without, decided},
#include "frontend/onnx/onnx_facts.def"
#undef ONNX_FACT
    {"", "", "", "", "", ""} /* where a row has none */
};
enum { FACTS = sizeof facts / sizeof *facts };

bool tn_oi_domain_is_onnx(const char *domain) {
    return !*domain || !strcmp(domain, "ai.onnx");
}

static bool same_domain(const char *a, const char *b) {
    return !strcmp(a, b) || (tn_oi_domain_is_onnx(a) && tn_oi_domain_is_onnx(b));
}

const tn_oi_row *tn_oi_find_row(const char *domain, const char *name, int64_t version) {
    for (size_t k = 0; k < ROWS; k++)
        if (!strcmp(rows[k].name, name) && same_domain(rows[k].domain, domain) && version >= rows[k].since &&
            version <= rows[k].until)
            return &rows[k];
    return NULL;
}

/* The domain's opset up to which its operators are known. */
static int newest(const char *domain) {
    return tn_oi_domain_is_onnx(domain) ? TN_OI_MAX_OPSET : !strcmp(domain, "ai.onnx.ml") ? TN_OI_MAX_ML_OPSET : 1;
}

bool tn_oi_versions(const char *domain, const char *name, int *since, int *until) {
    *since = *until = 0;
    for (size_t k = 0; k < ROWS; k++) {
        if (strcmp(rows[k].name, name) || !same_domain(rows[k].domain, domain)) continue;
        if (!*since || rows[k].since < *since) *since = rows[k].since;
        if (rows[k].until > *until) *until = rows[k].until;
    }
    if (*until == LAST) *until = newest(domain);
    return *since != 0;
}

const char *tn_oi_refusal(const char *domain, const char *name) {
    for (size_t k = 0; k < REFUSALS; k++)
        if (same_domain(refusals[k].domain, domain) &&
            (!strcmp(refusals[k].name, name) || !strcmp(refusals[k].name, "*")))
            return refusals[k].why;
    return NULL;
}

/* ---- for whoever asks -------------------------------------------------------------------------------------------- */

/* An op has several rows where it is imported in several ways. */
static bool is_first(size_t row) {
    for (size_t k = 0; k < row; k++)
        if (!strcmp(rows[k].name, rows[row].name) && !strcmp(rows[k].domain, rows[row].domain)) return false;
    return true;
}

static size_t imported(void) {
    size_t n = 0;
    for (size_t k = 0; k < ROWS; k++) n += is_first(k);
    return n;
}

size_t tn_onnx_op_count(void) {
    return imported() + REFUSALS;
}

static tn_onnx_op op_of(const tn_oi_row *r) {
    const fact *f = &facts[FACTS - 1];
    tn_onnx_op o = {.domain = r->domain, .name = r->name};
    tn_oi_versions(r->domain, r->name, &o.since, &o.until);
    if (tn_oi_domain_is_onnx(r->domain) && o.since < TN_OI_MIN_OPSET) o.since = TN_OI_MIN_OPSET;
    for (size_t k = 0; k + 1 < FACTS; k++)
        if (!strcmp(facts[k].name, r->name) && !strcmp(facts[k].domain, r->domain)) f = &facts[k];
    o.versions = f->versions;
    o.types = f->types;
    o.without = f->without;
    o.decided = f->decided;
    return o;
}

tn_onnx_op tn_onnx_op_at(size_t k) {
    for (size_t i = 0; i < ROWS; i++)
        if (is_first(i) && !k--) return op_of(&rows[i]);
    if (k >= REFUSALS) return (tn_onnx_op){0};
    const refusal *r = &refusals[k];
    return (tn_onnx_op){.domain = r->domain,
                        .name = r->name,
                        .versions = "",
                        .types = "",
                        .without = "",
                        .decided = "",
                        .refused = r->why};
}
