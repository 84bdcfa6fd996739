/* text.c: a program as text (program.h shows the form). */
#include "codegen/emit/text.h"
#include "codegen/program/words.h"

#include <inttypes.h>
#include <string.h>

const char *const tn_buffer_words[TN_BUFFER_KINDS] = {"input", "output", "const", "scratch"};
const char *const tn_body_words[2] = {"first", "second"};
const char *const tn_step_words[TN_STEP_KINDS] = {"launch", "lt", "copy", "fill", "if", "while"};

static void put_dim(tn_text *t, const tn_graph *g, tn_dim d) {
    char buf[1024];
    const size_t n = tn_dim_print(g, d, buf, sizeof buf);
    if (n < sizeof buf) {
        tn_text_put(t, buf, n);
        return;
    }
    char *big = tn_alloc(t->env, n + 1);
    if (!big) {
        t->failed = true;
        return;
    }
    tn_dim_print(g, d, big, n + 1);
    tn_text_put(t, big, n);
    tn_free(t->env, big, n + 1);
}

static void put_quoted(tn_text *t, const char *s) {
    tn_text_put(t, "\"", 1);
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            tn_text_add(t, "\\%c", c);
        else if (c < ' ')
            tn_text_add(t, "\\x%02x", c);
        else
            tn_text_put(t, s, 1);
    }
    tn_text_put(t, "\"", 1);
}

/* N in [1, 64] hint 8 */
static void put_range(tn_text *t, const tn_graph *g, tn_dim sym, tn_size_range r) {
    put_dim(t, g, sym);
    tn_text_add(t, " in [%" PRId64 ", ", r.lo);
    if (r.hi == INT64_MAX)
        tn_text_add(t, "inf]");
    else
        tn_text_add(t, "%" PRId64 "]", r.hi);
    if (r.typical) tn_text_add(t, " hint %" PRId64, r.typical);
    if (r.divisor > 1) tn_text_add(t, " by %" PRId64, r.divisor);
}

static void put_symbols(tn_text *t, const tn_graph *g) {
    for (size_t k = 0; k < tn_sym_count(g); k++) {
        tn_size_range r = {0};
        tn_dim_bounds(g, tn_sym_at(g, k), &r.lo, &r.hi);
        if (r.lo == 0 && r.hi == INT64_MAX) continue;
        tn_text_add(t, "  symbol ");
        put_range(t, g, tn_sym_at(g, k), r);
        tn_text_add(t, "\n");
    }
}

/* The first by name: in which order they were made, the text does not say. */
static tn_dim first_symbol(const tn_graph *g) {
    tn_dim first = tn_sym_at(g, 0);
    for (size_t k = 1; k < tn_sym_count(g); k++)
        if (strcmp(tn_dim_name(g, tn_sym_at(g, k)), tn_dim_name(g, first)) < 0) first = tn_sym_at(g, k);
    return first;
}

/* Symbols of which it says what they do not say of themselves; one at least, or it would not read back. */
static void put_bucket(tn_text *t, const tn_graph *g, size_t bucket) {
    bool any = false;
    for (size_t k = 0; k < tn_sym_count(g); k++) {
        const tn_dim s = tn_sym_at(g, k);
        const tn_size_range own = tn_bucket_range(g, TN_MAX_BUCKETS, s), r = tn_bucket_range(g, bucket, s);
        if (tn_same_range(own, r)) continue;
        tn_text_add(t, any ? ", " : "  bucket ");
        put_range(t, g, s, r);
        any = true;
    }
    if (!any && tn_sym_count(g)) {
        tn_text_add(t, "  bucket ");
        put_range(t, g, first_symbol(g), tn_bucket_range(g, TN_MAX_BUCKETS, first_symbol(g)));
    }
    tn_text_add(t, "\n");
}

static void put_extent(tn_text *t, const tn_program *p, const tn_extent *e) {
    tn_text_add(t, "%%%u[", e->buffer);
    put_dim(t, p->g, e->offset);
    tn_text_add(t, ", ");
    put_dim(t, p->g, e->bytes);
    if (e->pitch.i) {
        tn_text_add(t, ", ");
        put_dim(t, p->g, e->run);
        tn_text_add(t, ", ");
        put_dim(t, p->g, e->pitch);
    }
    tn_text_add(t, "]");
}

static void put_buffer(tn_text *t, const tn_program *p, uint32_t k) {
    const tn_prog_buffer *b = &p->buffers[k];
    tn_text_add(t, "  %s %%%u", tn_buffer_words[b->kind], k);
    if (b->kind != TN_BUFFER_SCRATCH) tn_text_add(t, " "), put_quoted(t, b->name);
    tn_text_add(t, " : ");
    put_dim(t, p->g, b->bytes);
    if (b->at.i) tn_text_add(t, " at "), put_dim(t, p->g, b->at);
    if (b->packing.element) {
        char how[TN_PACKING_TEXT];
        tn_packing_print(&b->packing, how);
        tn_text_add(t, " packed \"%s\"", how);
    }
    if (b->kept.bytes.i) tn_text_add(t, " over "), put_extent(t, p, &b->kept);
    tn_text_add(t, "\n");
}

static void put_extents(tn_text *t, const tn_program *p, const char *word, const tn_extent *e, uint32_t n) {
    for (uint32_t k = 0; k < n; k++) {
        if (k)
            tn_text_add(t, ", ");
        else
            tn_text_add(t, " %s ", word);
        put_extent(t, p, &e[k]);
    }
}

/* require first equal(K, L) "add" of "axis 0 of x", "axis 0 of y" layers "/add" */
static void put_needs(tn_text *t, const tn_program *p, tn_region r, const char *body, int indent) {
    tn_graph *g = p->g;
    for (size_t k = 0; r.i && k < tn_condition_count(g); k++) {
        const tn_condition c = tn_condition_at(g, k);
        if (tn_condition_region(g, &c).i != r.i) continue;
        tn_text_add(t, "\n%*srequire %s %s(", indent, "", body, tn_rel_text(c.rel));
        put_dim(t, g, c.a);
        tn_text_add(t, ", ");
        put_dim(t, g, c.b);
        tn_text_add(t, ") ");
        put_quoted(t, c.what);
        if (*c.of_a || *c.of_b) {
            tn_text_add(t, " of "), put_quoted(t, c.of_a);
            tn_text_add(t, ", "), put_quoted(t, c.of_b);
        }
        for (size_t i = 0; i < tn_loc_count(g, c.loc); i++)
            tn_text_add(t, i ? ", " : " layers "), put_quoted(t, tn_loc_at(g, c.loc, i));
    }
}

static void put_step(tn_text *t, const tn_program *p, uint32_t k, int depth) {
    const tn_prog_step *s = &p->steps[k];
    const int indent = 2 + 2 * depth;
    tn_text_add(t, "%*s#%u %s ", indent, "", k, tn_step_words[s->kind]);
    put_quoted(t, s->name);
    if (tn_prog_is_control(s)) tn_text_add(t, " body %u %u", s->body[0], s->body[1]);
    if (s->sizes.i) tn_text_add(t, " where "), put_dim(t, p->g, s->sizes);
    put_extents(t, p, "reads", s->reads, s->n_reads);
    put_extents(t, p, "writes", s->writes, s->n_writes);
    if (s->kind == TN_STEP_FILL) tn_text_add(t, " with %u", s->word);
    for (uint32_t i = 0; i < s->n_in_place; i++)
        tn_text_add(t, "%s %u %u", i ? "," : " in_place", s->in_place[i].write, s->in_place[i].read);
    for (uint32_t i = 0; i < s->n_after; i++) tn_text_add(t, "%s #%u", i ? "," : " after", s->after[i]);
    if (s->stream) tn_text_add(t, " stream %u", s->stream);
    if (s->us > 0) tn_text_add(t, " us %.9g", s->us);
    for (uint32_t i = 0; i < s->n_layers; i++) tn_text_add(t, i ? ", " : " layers "), put_quoted(t, s->layers[i]);
    for (uint32_t i = 0; i < s->n_ways; i++) {
        if (i)
            tn_text_add(t, ", ");
        else
            tn_text_add(t, "\n%*sruns ", indent + 2, "");
        put_quoted(t, s->ways[i].text);
        for (uint32_t j = 0; j < s->ways[i].n_from; j++) tn_text_add(t, j ? " %%%u" : " from %%%u", s->ways[i].from[j]);
        if (s->ways[i].bucket < TN_MAX_BUCKETS) tn_text_add(t, " in %u", s->ways[i].bucket);
    }
    for (int i = 0; i < 2; i++) put_needs(t, p, s->needs[i], tn_body_words[i], indent + 2);
    tn_text_add(t, "\n");
}

/* What a step owns is indented. */
static void put_steps(tn_text *t, const tn_program *p) {
    uint32_t end[TN_MAX_NESTING];
    int depth = 0;
    for (uint32_t k = 0; k < p->n_steps; k++) {
        while (depth && end[depth - 1] == k) depth--;
        put_step(t, p, k, depth);
        if (tn_prog_end(p, k) > k + 1 && depth < TN_MAX_NESTING) end[depth++] = tn_prog_end(p, k);
    }
}

tn_status tn_program_print(const tn_program *p, char **text, size_t *size) {
    const tn_env *env = tn_graph_env(p->g);
    tn_text t = {.env = env};
    tn_text_add(&t, "program ");
    put_quoted(&t, p->name);
    tn_text_add(&t, " {\n");
    put_symbols(&t, p->g);
    for (size_t k = 0; k < tn_bucket_count(p->g); k++) put_bucket(&t, p->g, k);
    for (uint32_t k = 0; k < p->n_buffers; k++) put_buffer(&t, p, k);
    put_steps(&t, p);
    if (p->arena.i) tn_text_add(&t, "  arena "), put_dim(&t, p->g, p->arena), tn_text_add(&t, "\n");
    tn_text_add(&t, "}\n");
    *size = t.n;
    *text = t.failed ? NULL : tn_text_take(&t);
    tn_text_free(&t);
    return *text ? TN_OK : tn_fail(env, TN_E_MEMORY, "", "", "out of memory");
}
