/* buckets.c: see buckets.h.
 *
 * What a symbol is used for says which sizes it will have: a batch is 1 or a few, a sequence short or long, an image
 * small or large.  All symbols of one use have equal sizes in a bucket; buckets are the combinations of the sizes of
 * the uses, and where they meet is the geometric mean of their sizes.  A symbol with a hint keeps it in all buckets. */
#include "codegen/buckets.h"
#include "tenon/internal/arith.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum use { BATCH, SEQUENCE, IMAGE, N_USES, OTHER = N_USES } use;

static const struct {
    const char *text;
    int64_t sizes[2];
    const char *words[8]; /* in names of symbols */
} uses[] = {
    [BATCH] = {"batch", {1, 8}, {"batch"}},
    [SEQUENCE] = {"sequence", {128, 512}, {"seq", "length", "len", "token", "context", "past"}},
    [IMAGE] = {"image", {224, 640}, {"height", "width"}},
};

enum { MAX_SYMBOLS = 64 };

typedef struct symbol {
    tn_dim sym;
    use use;
    int64_t lo, hi;
    int64_t fixed; /* the size that a hint or a condition says; 0: none */
} symbol;

typedef struct chooser {
    tn_graph *g;
    symbol s[MAX_SYMBOLS];
    size_t n;
    int64_t size[N_USES][2]; /* within the symbols' ranges, ascending */
    uint32_t n_sizes[N_USES];
} chooser;

/* Typical sizes of each use in one bucket. */
typedef struct bucket {
    int64_t at[N_USES];
} bucket;

/* ---- uses -------------------------------------------------------------------------------------------------------- */

static bool has_word(const char *name, const char *word) {
    const size_t n = strlen(word);
    for (; *name; name++) {
        size_t k = 0;
        while (k < n && name[k] && tolower((unsigned char)name[k]) == word[k]) k++;
        if (k == n) return true;
    }
    return false;
}

static use use_of_name(const char *name) {
    for (use u = 0; u < N_USES; u++)
        for (size_t k = 0; k < sizeof uses[u].words / sizeof *uses[u].words && uses[u].words[k]; k++)
            if (has_word(name, uses[u].words[k])) return u;
    return OTHER;
}

/* A spatial axis of what some convolution reads. */
static bool is_image(const tn_graph *g, tn_dim sym) {
    TN_FOR_NODES(g, tn_graph_body(g), n) {
        const tn_op op = tn_node_op(g, n);
        const tn_val x = tn_node_input(g, n, 0);
        if (op != TN_OP_CONV && op != TN_OP_CONV_TRANSPOSE) continue;
        for (size_t k = 2; k < tn_val_rank(g, x); k++)
            if (tn_dim_mentions(g, tn_val_dim(g, x, k), sym)) return true;
    }
    return false;
}

static use use_of(const tn_graph *g, tn_val input, size_t axis) {
    const tn_dim sym = tn_val_dim(g, input, axis);
    const use named = use_of_name(tn_dim_name(g, sym));
    const size_t rank = tn_val_rank(g, input);
    if (named != OTHER) return named;
    if (axis == 0) return BATCH;
    if (is_image(g, sym)) return IMAGE;
    return (axis == 1 && rank == 2 && tn_dtype_is_int(tn_val_dtype(g, input))) || (axis == 1 && rank == 3) ? SEQUENCE
                                                                                                           : OTHER;
}

/* "K must be 5" */
static int64_t size_by_conditions(const tn_graph *g, tn_dim sym) {
    int64_t v = 0;
    for (size_t k = 0; k < tn_condition_count(g); k++) {
        const tn_condition c = tn_condition_at(g, k);
        if (c.rel == TN_REL_EQUAL && c.a.i == sym.i && tn_condition_always(g, &c) && tn_dim_is_const(g, c.b, &v) &&
            v > 0)
            return v;
    }
    return 0;
}

/* False if there are more than can be looked at. */
static bool find_symbols(chooser *c) {
    const tn_graph *g = c->g;
    for (size_t i = 0; i < tn_graph_input_count(g); i++)
        for (size_t k = 0; k < tn_val_rank(g, tn_graph_input(g, i)); k++) {
            const tn_dim d = tn_val_dim(g, tn_graph_input(g, i), k);
            const use u = tn_dim_kind_of(g, d) == TN_DIM_SYM ? use_of(g, tn_graph_input(g, i), k) : OTHER;
            size_t at = 0;
            while (at < c->n && c->s[at].sym.i != d.i) at++;
            if (at < c->n && !c->s[at].fixed && c->s[at].use > u) c->s[at].use = u;
            if (tn_dim_kind_of(g, d) != TN_DIM_SYM || at < c->n) continue;
            if (c->n == MAX_SYMBOLS) return false;
            symbol *s = &c->s[c->n++];
            *s = (symbol){.sym = d, .use = u, .fixed = tn_dim_hint(g, d)};
            tn_dim_bounds(g, d, &s->lo, &s->hi);
            if (s->lo < 0) s->lo = 0;
            if (!s->fixed) s->fixed = size_by_conditions(g, d);
            if (s->fixed) s->use = OTHER;
        }
    return true;
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

/* Of each use the sizes that all its symbols may have. */
static void find_sizes(chooser *c) {
    for (use u = 0; u < N_USES; u++) {
        int64_t lo = 1, hi = INT64_MAX;
        bool any = false;
        for (size_t k = 0; k < c->n; k++) {
            if (c->s[k].use != u) continue;
            any = true;
            if (c->s[k].lo > lo) lo = c->s[k].lo;
            if (c->s[k].hi < hi) hi = c->s[k].hi;
        }
        if (!any || lo > hi) continue;
        c->size[u][0] = tn_clamp(uses[u].sizes[0], lo, hi);
        c->size[u][1] = tn_clamp(uses[u].sizes[1], lo, hi);
        c->n_sizes[u] = c->size[u][0] == c->size[u][1] ? 1 : 2;
    }
}

static int64_t size_in(const symbol *s, const bucket *b) {
    const int64_t v = s->use < N_USES ? b->at[s->use] : s->fixed ? s->fixed : 1;
    return tn_clamp(v, s->lo, s->hi);
}

/* As far as they depend on the inputs' symbols. */
static bool conditions_hold(const chooser *c, const bucket *b) {
    tn_binding at[MAX_SYMBOLS];
    for (size_t k = 0; k < c->n; k++) at[k] = (tn_binding){tn_dim_name(c->g, c->s[k].sym), size_in(&c->s[k], b)};
    return tn_conditions_hold_in(c->g, tn_graph_body(c->g), at, c->n, true);
}

/* Smaller sequences and images where the model takes none as large: each halved as often as needed. */
static bool fit(const chooser *c, bucket *b) {
    enum { HALVINGS = 9 };
    for (int s = 0; s <= HALVINGS; s++)
        for (int i = 0; i <= HALVINGS; i++) {
            bucket t = *b;
            t.at[SEQUENCE] >>= s;
            t.at[IMAGE] >>= i;
            if ((t.at[SEQUENCE] || !b->at[SEQUENCE]) && (t.at[IMAGE] || !b->at[IMAGE]) && conditions_hold(c, &t)) {
                *b = t;
                return true;
            }
        }
    return false;
}

/* All combinations, the first size of the last uses where there would be too many; the least sizes first. */
static size_t combine(const chooser *c, bucket out[TN_MAX_CHOSEN_BUCKETS]) {
    uint32_t of[N_USES];
    size_t all = 1, n = 0;
    for (use u = 0; u < N_USES; u++) {
        of[u] = c->n_sizes[u] && all * c->n_sizes[u] <= TN_MAX_CHOSEN_BUCKETS ? c->n_sizes[u] : 1;
        all *= of[u];
    }
    for (size_t k = 0; k < all; k++) {
        bucket b = {{0}};
        size_t rest = k;
        for (use u = N_USES; u-- > 0;) {
            b.at[u] = c->size[u][rest % of[u]];
            rest /= of[u];
        }
        bool twice = !fit(c, &b);
        for (size_t j = 0; j < n && !twice; j++) twice = !memcmp(&out[j], &b, sizeof b);
        if (!twice) out[n++] = b;
    }
    return n;
}

/* ---- ranges ------------------------------------------------------------------------------------------------------ */

/* Where sizes a < b meet: the largest that counts as a. */
static int64_t border(int64_t a, int64_t b) {
    return (int64_t)floor(sqrt((double)a * (double)b));
}

/* The sizes of a symbol that are more like its size in bucket `at` than like those in the others. */
static tn_size_range range_in(const symbol *s, const bucket *b, size_t n, size_t at) {
    tn_size_range r = {.lo = s->lo, .hi = s->hi, .typical = size_in(s, &b[at])};
    for (size_t k = 0; k < n; k++) {
        const int64_t other = size_in(s, &b[k]);
        if (other > r.typical && border(r.typical, other) < r.hi) r.hi = border(r.typical, other);
        if (other < r.typical && border(other, r.typical) + 1 > r.lo) r.lo = border(other, r.typical) + 1;
    }
    return r;
}

static void set_hints(chooser *c, const bucket *b) {
    for (size_t k = 0; k < c->n; k++)
        if (c->s[k].use < N_USES) tn_dim_set_hint(c->g, c->s[k].sym, size_in(&c->s[k], b));
}

static void say(const chooser *c, size_t n) {
    char names[200] = "", text[600] = "";
    size_t m = 0;
    for (size_t k = 0; k < c->n && m < sizeof names; k++)
        if (c->s[k].use < N_USES)
            m += (size_t)snprintf(names + m, sizeof names - m, "%s%s (%s)", m ? ", " : "",
                                  tn_dim_name(c->g, c->s[k].sym), uses[c->s[k].use].text);
    m = 0;
    for (size_t b = 0; b < n && m < sizeof text; b++) {
        m += (size_t)snprintf(text + m, sizeof text - m, "%s", b ? "; " : "");
        if (m < sizeof text) m += tn_bucket_print(c->g, b, text + m, sizeof text - m);
    }
    tn_report(tn_graph_env(c->g), TN_NOTE, TN_OK, "",
              "nobody says how large %s typically are: kernels are chosen for %zu kinds of sizes, %s", names, n, text);
}

static void set(chooser *c, size_t bucket, const symbol *s, tn_size_range r) {
    tn_bucket_set_range(c->g, bucket, s->sym, r);
    if (bucket == 0) tn_dim_set_hint(c->g, s->sym, r.typical);
}

static tn_status choose(chooser *c) {
    bucket b[TN_MAX_CHOSEN_BUCKETS];
    find_sizes(c);
    const size_t n = combine(c, b);
    if (!n) return TN_OK; /* the passes look for sizes at which the graph runs */
    if (n == 1) set_hints(c, &b[0]);
    for (size_t k = 0; n > 1 && k < n; k++)
        for (size_t j = 0; j < c->n; j++)
            if (c->s[j].use < N_USES) set(c, k, &c->s[j], range_in(&c->s[j], b, n, k));
    if (n > 1) say(c, n);
    return tn_graph_status(c->g);
}

/* Typical sizes in buckets that the user gave, where she said none. */
static tn_status complete(chooser *c) {
    for (size_t b = 0; b < tn_bucket_count(c->g); b++)
        for (size_t k = 0; k < c->n; k++) {
            const symbol *s = &c->s[k];
            tn_size_range r = tn_bucket_range(c->g, b, s->sym);
            if (r.typical || s->use == OTHER) continue;
            const int64_t *sizes = uses[s->use].sizes;
            r.typical = tn_clamp(sizes[1] <= r.hi ? sizes[1] : sizes[0], r.lo > 1 ? r.lo : 1, r.hi);
            set(c, b, s, r);
        }
    return tn_graph_status(c->g);
}

/* ---- buckets that overlap ---------------------------------------------------------------------------------------- */

static bool overlap(const chooser *c, size_t a, size_t b) {
    for (size_t k = 0; k < c->n; k++) {
        const tn_size_range x = tn_bucket_range(c->g, a, c->s[k].sym), y = tn_bucket_range(c->g, b, c->s[k].sym);
        if (x.lo > y.hi || y.lo > x.hi) return false;
    }
    return true;
}

/* What is said of its size in a bucket, in its range; 0: nothing. */
static int64_t said_in(const chooser *c, size_t bucket, const symbol *s) {
    return tn_bucket_range(c->g, bucket, s->sym).typical > 0 ? tn_bucket_typical(c->g, bucket, s->sym) : 0;
}

/* Takes from each of two buckets what is more like the other, by the symbol whose typical sizes are furthest apart. */
static void part(chooser *c, size_t a, size_t b) {
    const symbol *by = NULL;
    double furthest = 1;
    for (size_t k = 0; k < c->n; k++) {
        const int64_t x = said_in(c, a, &c->s[k]), y = said_in(c, b, &c->s[k]);
        const double apart = x > 0 && y > 0 ? x > y ? (double)x / (double)y : (double)y / (double)x : 1;
        if (apart > furthest) furthest = apart, by = &c->s[k];
    }
    if (!by) return;
    const bool rising = said_in(c, a, by) < said_in(c, b, by);
    const size_t less = rising ? a : b, more = rising ? b : a;
    tn_size_range x = tn_bucket_range(c->g, less, by->sym), y = tn_bucket_range(c->g, more, by->sym);
    const int64_t at = border(said_in(c, less, by), said_in(c, more, by));
    if (x.hi > at) x.hi = at;
    if (y.lo <= at) y.lo = at + 1;
    set(c, less, by, x);
    set(c, more, by, y);
}

static tn_status part_all(chooser *c) {
    for (size_t b = 1; b < tn_bucket_count(c->g); b++)
        for (size_t a = 0; a < b; a++)
            if (overlap(c, a, b)) part(c, a, b);
    return tn_graph_status(c->g);
}

/* Symbols that no input tells are known to no one when a bucket is looked for. */
static void forget_others(tn_graph *g) {
    for (size_t k = 0; k < tn_sym_count(g); k++)
        if (!tn_inputs_tell(g, tn_sym_at(g, k))) tn_bucket_forget(g, tn_sym_at(g, k));
}

tn_status tn_choose_buckets(tn_graph *g) {
    chooser c = {.g = g};
    tn_status st = tn_verify(g);
    if (st == TN_OK) st = tn_graph_collect_conditions(g);
    if (st == TN_OK) forget_others(g);
    if (st != TN_OK || !find_symbols(&c) || !c.n) return st;
    if (!tn_bucket_count(g)) return choose(&c);
    st = complete(&c);
    return st == TN_OK ? part_all(&c) : st;
}
