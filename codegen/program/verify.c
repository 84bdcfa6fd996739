/* verify.c: whether a program is well formed, and whether every order that it allows gives the same bytes.
 *
 * The second question is asked with numbers for the symbols.  Within a buffer, every two extents that share a byte, one
 * of them written, belong to steps that are ordered.  Between scratch buffers, the arena is cut at their ends into
 * segments; the steps are walked in list order, each segment knows whose it is and who was there last, and a new owner's
 * first write must come, in every order, after all that the old owner's steps did.  So any two steps that share bytes
 * are ordered, and all orders do what list order does.  Where an output is in the memory of an input, nobody writes what
 * that input has.
 *
 * What a `while` owns is walked twice, so that what an iteration reads is there in the second one, too.  Both bodies of an
 * `if` are walked; that the bytes which a step reads were written is asked of those writes that surely ran before it. */
#include "codegen/program/program.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* ---- structure --------------------------------------------------------------------------------------------------- */

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static tn_status
broken(const tn_program *p, const char *where, const char *fmt, ...) {
    char text[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return tn_fail(tn_graph_env(p->g), TN_E_VERIFY, where, "this is a bug of a pass over programs", "%s", text);
}

static tn_status check_extents(const tn_program *p, const tn_prog_step *s, const tn_extent *e, uint32_t n, bool write) {
    for (uint32_t k = 0; k < n; k++) {
        if (e[k].buffer >= p->n_buffers)
            return broken(p, s->name, "it touches buffer %%%u, which is none", e[k].buffer);
        const tn_buffer_kind kind = p->buffers[e[k].buffer].kind;
        if (write && (kind == TN_BUFFER_INPUT || kind == TN_BUFFER_CONST))
            return broken(p, s->name, "it writes buffer %%%u, which is not to be written", e[k].buffer);
        if (!e[k].offset.i || !e[k].bytes.i || !e[k].run.i != !e[k].pitch.i)
            return broken(p, s->name, "an extent of buffer %%%u is incomplete", e[k].buffer);
    }
    return TN_OK;
}

/* How many extents each kind reads and writes; LAUNCH and LT: any. */
static tn_status check_kind(const tn_program *p, const tn_prog_step *s) {
    static const struct {
        uint32_t reads, writes;
    } shapes[TN_STEP_KINDS] = {
        [TN_STEP_COPY] = {1, 1}, [TN_STEP_FILL] = {0, 1}, [TN_STEP_IF] = {1, 0}, [TN_STEP_WHILE] = {1, 0}};
    if (s->kind <= TN_STEP_LT) return TN_OK;
    if (s->n_reads != shapes[s->kind].reads || s->n_writes != shapes[s->kind].writes)
        return broken(p, s->name, "it reads %u extents and writes %u, which its kind does not", s->n_reads,
                      s->n_writes);
    for (uint32_t k = 0; k < s->n_reads; k++)
        if (s->reads[k].pitch.i) return broken(p, s->name, "it reads parts of rows, which its kind does not");
    for (uint32_t k = 0; k < s->n_writes; k++)
        if (s->writes[k].pitch.i) return broken(p, s->name, "it writes parts of rows, which its kind does not");
    if ((s->needs[0].i || s->needs[1].i) && (s->sizes.i || !tn_prog_is_control(s)))
        return broken(p, s->name, "it needs sizes for what data does not choose");
    if (tn_prog_is_control(s) && !tn_dim_equal_const(p->g, s->reads[0].bytes, 1))
        return broken(p, s->name, "what it reads is no bool");
    int64_t from, into; /* of symbols a condition may say that they are equal: evaluate_all asks at their sizes */
    if (s->kind == TN_STEP_COPY && tn_dim_is_const(p->g, s->reads[0].bytes, &from) &&
        tn_dim_is_const(p->g, s->writes[0].bytes, &into) && from != into)
        return broken(p, s->name, "it copies an extent into one of another size");
    return TN_OK;
}

/* An owner whose bodies reach to `middle` and `end`. */
typedef struct owner {
    uint32_t step, middle, end;
} owner;

static tn_status check_owned(const tn_program *p, uint32_t k, const owner *o) {
    const tn_prog_step *s = &p->steps[k];
    const uint64_t end = UINT64_C(1) + k + s->body[0] + s->body[1];
    if (!tn_prog_is_control(s) && end != UINT64_C(1) + k) return broken(p, s->name, "its kind owns no steps");
    if (s->kind == TN_STEP_WHILE && (s->body[1] || !s->body[0])) return broken(p, s->name, "a while has one body");
    if (end > (!o ? p->n_steps : k < o->middle ? o->middle : o->end))
        return broken(p, s->name, "it owns steps beyond those of its owner");
    if (o && (s->n_after || s->stream != p->steps[o->step].stream))
        return broken(p, s->name, "'%s' owns it: it has no edges, and is on the same stream", p->steps[o->step].name);
    return TN_OK;
}

/* Each step stands in one body of its owner; owned[k] is set for those that have one. */
static tn_status check_nesting(const tn_program *p, bool *owned) {
    owner open[TN_MAX_NESTING];
    uint32_t depth = 0;
    for (uint32_t k = 0; k < p->n_steps; k++) {
        while (depth && open[depth - 1].end == k) depth--;
        tn_status st = check_owned(p, k, depth ? &open[depth - 1] : NULL);
        if (st != TN_OK) return st;
        owned[k] = depth > 0;
        if (tn_prog_end(p, k) == k + 1) continue;
        if (depth == TN_MAX_NESTING) return broken(p, p->steps[k].name, "owners are nested more than %d deep", depth);
        open[depth++] = (owner){k, k + 1 + p->steps[k].body[0], tn_prog_end(p, k)};
    }
    for (uint32_t k = 0; k < p->n_steps; k++)
        for (uint32_t i = 0; i < p->steps[k].n_after; i++)
            if (owned[p->steps[k].after[i]]) return broken(p, p->steps[k].name, "it follows a step that another owns");
    return TN_OK;
}

/* What each way reads packed in its own manner is a constant, and of the same name as one that the step reads. */
static tn_status check_from(const tn_program *p, const tn_prog_step *s, const tn_prog_way *w) {
    for (uint32_t i = 0; i < w->n_from; i++) {
        bool same = false;
        if (w->from[i] >= p->n_buffers || p->buffers[w->from[i]].kind != TN_BUFFER_CONST)
            return broken(p, s->name, "'%s' reads from buffer %%%u, which is no constant", w->text, w->from[i]);
        for (uint32_t k = 0; k < s->n_reads && !same; k++)
            same = p->buffers[s->reads[k].buffer].kind == TN_BUFFER_CONST && s->reads[k].buffer != w->from[i] &&
                   p->buffers[s->reads[k].buffer].name == p->buffers[w->from[i]].name;
        if (!same)
            return broken(p, s->name, "'%s' reads from constant %%%u, which the step does not read otherwise packed",
                          w->text, w->from[i]);
    }
    return TN_OK;
}

static tn_status check_ways(const tn_program *p, const tn_prog_step *s) {
    tn_status st = TN_OK;
    for (uint32_t i = 0; st == TN_OK && i < s->n_ways; i++) {
        const bool last = i + 1 == s->n_ways;
        if ((s->ways[i].bucket == TN_MAX_BUCKETS) != last)
            return broken(p, s->name, "its last way, and no other, must hold for all sizes");
        if (last && s->ways[i].n_from) return broken(p, s->name, "its last way reads what the step does");
        st = check_from(p, s, &s->ways[i]);
    }
    return st;
}

static tn_status check_step(const tn_program *p, uint32_t k) {
    const tn_prog_step *s = &p->steps[k];
    tn_status st = check_extents(p, s, s->reads, s->n_reads, false);
    if (st == TN_OK) st = check_extents(p, s, s->writes, s->n_writes, true);
    if (st != TN_OK) return st;
    if ((unsigned)s->kind >= TN_STEP_KINDS) return broken(p, s->name, "its kind is unknown");
    st = check_kind(p, s);
    if (st != TN_OK) return st;
    if (s->stream >= p->n_streams) return broken(p, s->name, "stream %u of %u", s->stream, p->n_streams);
    for (uint32_t i = 0; i < s->n_after; i++)
        if (s->after[i] >= k || (i && s->after[i] <= s->after[i - 1]))
            return broken(p, s->name, "its edges do not lead from earlier steps, ascending");
    st = check_ways(p, s);
    if (st != TN_OK) return st;
    for (uint32_t i = 0; i < s->n_in_place; i++)
        if (s->in_place[i].read >= s->n_reads || s->in_place[i].write >= s->n_writes)
            return broken(p, s->name, "in_place names an extent that it has not");
    return TN_OK;
}

static tn_status check_buffer_line(const tn_program *p, uint32_t k) {
    const tn_prog_buffer *b = &p->buffers[k];
    const tn_extent *e = &b->kept;
    if (!b->bytes.i || (unsigned)b->kind >= TN_BUFFER_KINDS) return broken(p, p->name, "buffer %%%u is incomplete", k);
    uint64_t plain, packed = 0;
    if (b->packing.element && (b->kind != TN_BUFFER_CONST || !tn_packing_sizes(&b->packing, &plain, &packed) ||
                               !tn_dim_equal_const(p->g, b->bytes, (int64_t)packed)))
        return broken(p, p->name, "buffer %%%u is no constant of the %" PRIu64 " bytes that its packing makes", k,
                      packed);
    if (!e->bytes.i) return TN_OK;
    if (b->kind != TN_BUFFER_OUTPUT || e->buffer >= p->n_buffers || p->buffers[e->buffer].kind != TN_BUFFER_INPUT)
        return broken(p, p->name, "buffer %%%u, which is in another's memory, is no output in that of an input", k);
    for (uint32_t i = 0; i < k; i++)
        if (p->buffers[i].kept.bytes.i && p->buffers[i].kept.buffer == e->buffer)
            return broken(p, p->name, "buffers %%%u and %%%u are in the memory of the same input", i, k);
    if (!e->offset.i || !e->run.i != !e->pitch.i) return broken(p, p->name, "what buffer %%%u keeps is incomplete", k);
    if (b->bytes.i != p->buffers[e->buffer].bytes.i)
        return broken(p, p->name, "buffer %%%u and the input that it grows in differ in size", k);
    return TN_OK;
}

tn_status tn_program_check(const tn_program *p) {
    tn_status st = TN_OK;
    if (!p->n_streams || p->n_streams > TN_MAX_STREAMS) return broken(p, p->name, "%u streams", p->n_streams);
    for (uint32_t k = 0; st == TN_OK && k < p->n_buffers; k++) st = check_buffer_line(p, k);
    for (uint32_t k = 0; st == TN_OK && k < p->n_steps; k++) st = check_step(p, k);
    if (st != TN_OK) return st;
    const tn_env *env = tn_graph_env(p->g);
    bool *owned = tn_alloc(env, (p->n_steps + 1) * sizeof *owned);
    st = owned ? check_nesting(p, owned) : tn_fail(env, TN_E_MEMORY, "", "", "out of memory");
    tn_free(env, owned, (p->n_steps + 1) * sizeof *owned);
    return st;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

typedef struct bytes {
    uint32_t buffer, step;
    bool writes;
    int64_t from, n, run, pitch; /* pitch 0: all n */
} bytes;

/* Who was in a segment of the arena. */
typedef struct segment {
    int64_t from, end;
    uint32_t owner;                /* buffer, or NONE */
    uint32_t last[TN_MAX_STREAMS]; /* index + 1 of the owner's (and, in place, its predecessors') last step */
} segment;

typedef struct checker {
    const tn_program *p;
    const tn_binding *b;
    size_t n_b;
    tn_order order;
    bytes *all; /* every extent, in list order */
    uint32_t n_all;
    int64_t *size, *at; /* by buffer */
    segment *seg;
    uint32_t n_seg;
    uint32_t *by_buffer, *start_of; /* extents grouped by buffer whose memory it is */
    bytes *kept;                    /* by such buffer: what an output keeps of it; n 0: nothing */
    bool *is_kept;                  /* by such buffer: an output is in its memory */
    uint32_t *writers;              /* scratch: of the buffer that is looked at */
    bool nests;                     /* some step owns others */
    uint32_t *first_of;             /* by step: the first of its extents in `all`; one more for the end */
    uint32_t *owner_of;             /* by step; NONE: it has none */
    uint32_t again, again_end;      /* the loop that is walked a second time */
} checker;

/* Sums of a few such fit into 64 bits. */
static const int64_t MOST = INT64_MAX / 8;

static bool value(const checker *c, tn_dim d, int64_t *v) {
    return tn_dim_eval(c->p->g, d, c->b, c->n_b, v) && *v <= MOST && *v >= -MOST;
}

static tn_status no_value(const checker *c, const char *where) {
    return tn_fail(tn_graph_env(c->p->g), TN_E_ARGUMENT, where, "", "a symbol has no value, or a size is too large");
}

static tn_status evaluate(const checker *c, const char *where, const tn_extent *e, bytes *out) {
    out->buffer = e->buffer;
    out->run = out->pitch = 0;
    bool ok = value(c, e->offset, &out->from) && value(c, e->bytes, &out->n);
    if (ok && e->pitch.i) ok = value(c, e->run, &out->run) && value(c, e->pitch, &out->pitch);
    if (!ok) return no_value(c, where);
    if (out->pitch <= 0 || out->run >= out->pitch) out->run = out->pitch = 0;
    if (out->n && (out->n < 0 || out->from < 0 || out->from > c->size[e->buffer] - out->n))
        return broken(c->p, where, "bytes [%" PRId64 ", %" PRId64 ") of buffer %%%u, which has %" PRId64, out->from,
                      out->from + out->n, e->buffer, c->size[e->buffer]);
    return TN_OK;
}

/* At these sizes it does not run its k-th body: they choose the other one, or to choose this one is an error. */
static bool never_runs(const checker *c, const tn_prog_step *s, int k) {
    int64_t v;
    if (s->sizes.i && value(c, s->sizes, &v)) return (v != 0) != (k == 0);
    return s->needs[k].i && !tn_conditions_hold_in(c->p->g, s->needs[k], c->b, c->n_b, true);
}

static bool is_absent(const checker *c, uint32_t k) {
    const uint32_t owner = c->owner_of[k];
    if (owner == NONE) return false;
    const tn_prog_step *s = &c->p->steps[owner];
    return never_runs(c, s, k < owner + 1 + s->body[0] ? 0 : 1) || is_absent(c, owner);
}

static tn_status evaluate_all(checker *c) {
    const tn_program *p = c->p;
    tn_status st = TN_OK;
    for (uint32_t k = 0; k < p->n_buffers; k++) {
        if (!value(c, p->buffers[k].bytes, &c->size[k])) return no_value(c, p->buffers[k].name);
        if (p->buffers[k].kind != TN_BUFFER_SCRATCH || !p->buffers[k].at.i) continue;
        if (!value(c, p->buffers[k].at, &c->at[k])) return no_value(c, p->buffers[k].name);
    }
    for (uint32_t k = 0; st == TN_OK && k < p->n_buffers; k++) {
        const tn_extent *e = &p->buffers[k].kept;
        if (!e->bytes.i) continue;
        c->is_kept[e->buffer] = true;
        st = evaluate(c, p->buffers[k].name, e, &c->kept[e->buffer]);
    }
    for (uint32_t k = 0; st == TN_OK && k < p->n_steps; k++) {
        const tn_prog_step *s = &p->steps[k];
        c->first_of[k] = c->n_all;
        c->first_of[k + 1] = c->n_all + s->n_reads + s->n_writes;
        for (uint32_t i = k + 1; i < tn_prog_end(p, k); i++) c->owner_of[i] = k, c->nests = true;
        const bool absent = is_absent(c, k);
        for (uint32_t i = 0; st == TN_OK && i < s->n_reads + s->n_writes; i++) {
            bytes *b = &c->all[c->n_all++];
            *b = (bytes){.step = k, .writes = i >= s->n_reads};
            b->buffer = b->writes ? s->writes[i - s->n_reads].buffer : s->reads[i].buffer;
            if (!absent) st = evaluate(c, s->name, b->writes ? &s->writes[i - s->n_reads] : &s->reads[i], b);
        }
        if (st == TN_OK && s->kind == TN_STEP_COPY && c->all[c->first_of[k]].n != c->all[c->first_of[k] + 1].n)
            st = broken(p, s->name, "it copies an extent into one of another size");
    }
    return st;
}

/* ---- within a buffer --------------------------------------------------------------------------------------------- */

static bool share_a_byte(const bytes *a, const bytes *b) {
    if (!a->n || !b->n || a->from + a->n <= b->from || b->from + b->n <= a->from) return false;
    if (!a->pitch || a->pitch != b->pitch) return true;
    const int64_t x = a->from % a->pitch, y = b->from % b->pitch;
    const bool split = x + a->run > a->pitch || y + b->run > b->pitch;
    return split || (x < y + b->run && y < x + a->run);
}

static int64_t count(const bytes *a) {
    return a->pitch ? (a->n + a->pitch - 1) / a->pitch * a->run : a->n;
}

static uint32_t memory_of(const checker *c, uint32_t k) {
    return tn_program_memory_of(c->p, c->all[k].buffer);
}

/* Extents by the buffer whose memory they are in, in list order. */
static void group(checker *c) {
    for (uint32_t k = 0; k < c->n_all; k++) c->start_of[memory_of(c, k) + 1]++;
    for (uint32_t k = 0; k < c->p->n_buffers; k++) c->start_of[k + 1] += c->start_of[k];
    for (uint32_t k = c->n_all; k-- > 0;) { /* backward: each takes the last free place before the next buffer's */
        const uint32_t b = memory_of(c, k);
        c->by_buffer[--c->start_of[b + 1]] = k;
    }
    memmove(c->start_of, c->start_of + 1, c->p->n_buffers * sizeof *c->start_of);
    c->start_of[c->p->n_buffers] = c->n_all;
}

static tn_status check_pair(const checker *c, const bytes *old, const bytes *now) {
    const tn_program *p = c->p;
    if (old->step == now->step || (!old->writes && !now->writes) || !share_a_byte(old, now)) return TN_OK;
    if (tn_order_before(&c->order, old->step, now->step)) return TN_OK;
    return broken(p, p->steps[now->step].name,
                  "nothing orders it and '%s', which touches the same bytes of buffer %%%u", p->steps[old->step].name,
                  now->buffer);
}

/* Against the extents that list[0..n) names. */
static tn_status check_pairs(const checker *c, const uint32_t *list, uint32_t n, const bytes *now) {
    tn_status st = TN_OK;
    for (uint32_t k = 0; st == TN_OK && k < n; k++) st = check_pair(c, &c->all[list[k]], now);
    return st;
}

/* Of the steps [first, end), which `owner` owns, the bytes that those of the writes list[0..n) surely wrote of what `now`
 * reads: all in front of an owner of it or beside it; of an `if` that ends before, what both bodies wrote; of a `while`,
 * nothing. */
static int64_t surely_written(const checker *c, const uint32_t *list, uint32_t n, const bytes *now, uint32_t owner,
                              uint32_t first, uint32_t end) {
    int64_t sum = 0;
    for (uint32_t k = 0; k < n && c->all[list[k]].step < end && c->all[list[k]].step < now->step;) {
        uint32_t step = c->all[list[k]].step;
        if (step < first) {
            k++;
            continue;
        }
        while (c->owner_of[step] != owner) step = c->owner_of[step];
        const tn_prog_step *s = &c->p->steps[step];
        const uint32_t middle = step + 1 + s->body[0], last = tn_prog_end(c->p, step);
        if (!tn_prog_is_control(s)) {
            sum += share_a_byte(&c->all[list[k]], now) ? count(&c->all[list[k]]) : 0;
            k++;
            continue;
        }
        if (now->step < last) { /* it owns the read */
            const bool is_first = now->step < middle;
            sum += surely_written(c, list, n, now, step, is_first ? step + 1 : middle, is_first ? middle : last);
        } else if (s->kind == TN_STEP_IF) {
            const int64_t a = surely_written(c, list, n, now, step, step + 1, middle);
            const int64_t b = surely_written(c, list, n, now, step, middle, last);
            const bool not_a = never_runs(c, s, 0), not_b = never_runs(c, s, 1);
            sum += not_a && not_b ? now->n : not_a ? b : not_b || a < b ? a : b; /* behind neither nothing runs */
        }
        while (k < n && c->all[list[k]].step < last) k++;
    }
    return sum;
}

/* All that `now` reads was written by the first n of c->writers that surely ran before, but for what is kept. */
static bool was_written(const checker *c, uint32_t n, const bytes *now, int64_t kept) {
    int64_t sum = kept;
    if (c->nests)
        sum += surely_written(c, c->writers, n, now, NONE, 0, c->p->n_steps);
    else
        for (uint32_t k = 0; k < n; k++)
            if (c->all[c->writers[k]].step != now->step && share_a_byte(&c->all[c->writers[k]], now))
                sum += count(&c->all[c->writers[k]]);
    return sum >= count(now) || sum >= now->n;
}

/* True if the step writes `buffer` in place of a read of `old`. */
static bool is_in_place(const tn_prog_step *s, uint32_t buffer, uint32_t old) {
    for (uint32_t k = 0; k < s->n_in_place; k++)
        if (s->writes[s->in_place[k].write].buffer == buffer && s->reads[s->in_place[k].read].buffer == old)
            return true;
    return false;
}

/* What an output has of the input whose memory it is in, nobody writes, so that whoever reads either finds it, whenever; but for a step that
 * puts the output in place of the input, which nobody reads from there on. */
static tn_status check_kept(const checker *c, uint32_t memory, const bytes *now, int64_t *sum) {
    const bytes *kept = &c->kept[memory];
    if (!c->is_kept[memory] || !share_a_byte(kept, now)) return TN_OK;
    *sum += count(kept);
    if (!now->writes || is_in_place(&c->p->steps[now->step], now->buffer, memory)) return TN_OK;
    return broken(c->p, c->p->steps[now->step].name, "it writes bytes of buffer %%%u that are kept from input '%s'",
                  now->buffer, c->p->buffers[memory].name);
}

/* The extent is an output that is put in place of the input in whose memory it is. */
static bool is_put(const checker *c, uint32_t memory, const bytes *e) {
    return e->writes && c->is_kept[memory] && is_in_place(&c->p->steps[e->step], e->buffer, memory);
}

static bool has_put(const checker *c, uint32_t memory) {
    bool has = false;
    for (uint32_t k = c->start_of[memory]; k < c->start_of[memory + 1] && !has; k++)
        has = is_put(c, memory, &c->all[c->by_buffer[k]]);
    return has;
}

/* A read is looked at beside the writes before it, a write beside all that is before it: back to the last write of the
 * whole buffer, which comes after all that is further away. */
static tn_status check_buffer(const checker *c, uint32_t buffer) {
    const tn_program *p = c->p;
    const bool own = p->buffers[buffer].kind == TN_BUFFER_SCRATCH || c->is_kept[buffer];
    uint32_t from = c->start_of[buffer], n_writers = 0, over = NONE;
    if (p->buffers[buffer].kind == TN_BUFFER_CONST) return TN_OK;
    if (p->buffers[buffer].kind == TN_BUFFER_INPUT && !own) return TN_OK;
    const bool put = has_put(c, buffer);
    for (uint32_t k = from; k < c->start_of[buffer + 1]; k++) {
        const bytes *now = &c->all[c->by_buffer[k]];
        int64_t kept = 0;
        tn_status st = now->writes ? check_pairs(c, &c->by_buffer[from], k - from, now)
                                   : check_pairs(c, c->writers, n_writers, now);
        if (st == TN_OK) st = check_kept(c, buffer, now, &kept);
        if (st != TN_OK) return st;
        if (put && over == NONE && now->buffer != buffer) kept = 0; /* the output is what the step makes of it */
        const bool whole_rows = !c->is_kept[buffer] || now->pitch == c->kept[buffer].pitch; /* else it may span gaps */
        if (!now->writes && own && whole_rows && !was_written(c, n_writers, now, kept))
            return broken(p, p->steps[now->step].name, "it reads bytes of buffer %%%u that nobody wrote", now->buffer);
        if (!now->writes && now->buffer == buffer && over != NONE && over != now->step)
            return broken(p, p->steps[now->step].name, "it reads buffer %%%u, which '%s' has written over", now->buffer,
                          p->steps[over].name);
        if (!now->writes) continue;
        if (is_put(c, buffer, now)) over = now->step;
        if (now->n == c->size[buffer] && !now->pitch && !c->nests) from = k, n_writers = 0;
        c->writers[n_writers++] = c->by_buffer[k];
    }
    return TN_OK;
}

/* ---- between buffers --------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static bool in_arena(const checker *c, uint32_t k) {
    return c->p->buffers[k].kind == TN_BUFFER_SCRATCH && c->size[k] > 0;
}

static tn_status cut(checker *c, int64_t *ends) {
    int64_t arena;
    uint32_t n = 0;
    if (!value(c, c->p->arena, &arena)) return no_value(c, "");
    for (uint32_t k = 0; k < c->p->n_buffers; k++) {
        if (!in_arena(c, k)) continue;
        if (c->at[k] < 0 || c->at[k] > arena - c->size[k])
            return broken(c->p, c->p->name, "buffer %%%u lies outside the arena", k);
        ends[n++] = c->at[k];
        ends[n++] = c->at[k] + c->size[k];
    }
    if (n) qsort(ends, n, sizeof *ends, by_number);
    for (uint32_t k = 1; k < n; k++)
        if (ends[k] > ends[k - 1]) c->seg[c->n_seg++] = (segment){ends[k - 1], ends[k], NONE, {0}};
    return TN_OK;
}

static uint32_t first_segment(const checker *c, int64_t at) {
    uint32_t lo = 0, hi = c->n_seg;
    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (c->seg[mid].end <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_again(const checker *c, uint32_t step) {
    return step >= c->again && step < c->again_end;
}

static tn_status enter(const checker *c, segment *g, const bytes *now) {
    const tn_program *p = c->p;
    const tn_prog_step *s = &p->steps[now->step];
    if (g->owner != now->buffer && !now->writes)
        return broken(p, s->name, "the bytes of buffer %%%u that it reads are %s", now->buffer,
                      g->owner == NONE ? "nobody's yet" : "another buffer's by then");
    if (g->owner != now->buffer) {
        for (uint32_t k = 0; k < p->n_streams; k++) {
            const uint32_t last = g->last[k];
            if (!last || tn_order_before(&c->order, last - 1, now->step)) continue;
            if (last - 1 >= now->step && is_again(c, last - 1) && is_again(c, now->step)) continue;
            if (last - 1 == now->step && is_in_place(s, now->buffer, g->owner)) continue;
            return broken(p, s->name, "it writes buffer %%%u over bytes of %%%u that '%s' may still use", now->buffer,
                          g->owner, p->steps[last - 1].name);
        }
        g->owner = now->buffer;
    }
    if (now->step + 1 > g->last[s->stream]) g->last[s->stream] = now->step + 1;
    return TN_OK;
}

/* A buffer is its owner's as a whole, from its first write on. */
static tn_status walk_step(const checker *c, uint32_t step) {
    tn_status st = TN_OK;
    for (uint32_t k = c->first_of[step]; st == TN_OK && k < c->first_of[step + 1]; k++) {
        const bytes *now = &c->all[k];
        if (!in_arena(c, now->buffer) || !now->n) continue;
        const int64_t from = c->at[now->buffer], end = from + c->size[now->buffer];
        for (uint32_t i = first_segment(c, from); st == TN_OK && i < c->n_seg && c->seg[i].from < end; i++)
            st = enter(c, &c->seg[i], now);
    }
    return st;
}

/* Loops within loops are walked twice each time, so an inner one's owner counts as what is walked again. */
static tn_status walk(checker *c, uint32_t first, uint32_t end) {
    tn_status st = TN_OK;
    for (uint32_t k = first; st == TN_OK && k < end; k++) {
        st = walk_step(c, k);
        if (st != TN_OK || c->p->steps[k].kind != TN_STEP_WHILE) continue;
        const uint32_t last = tn_prog_end(c->p, k), again = c->again, again_end = c->again_end;
        st = walk(c, k + 1, last);
        if (again == again_end) c->again = k, c->again_end = last;
        if (st == TN_OK) st = walk_step(c, k);
        if (st == TN_OK) st = walk(c, k + 1, last);
        if (st == TN_OK) st = walk_step(c, k);
        c->again = again, c->again_end = again_end;
        k = last - 1;
    }
    return st;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static tn_status check_values(checker *c, int64_t *ends) {
    memset(c->owner_of, 0xff, c->p->n_steps * sizeof *c->owner_of);
    tn_status st = evaluate_all(c);
    if (st != TN_OK) return st;
    group(c);
    for (uint32_t k = 0; st == TN_OK && k < c->p->n_buffers; k++) st = check_buffer(c, k);
    if (st == TN_OK && c->p->arena.i) st = cut(c, ends);
    return st == TN_OK && c->p->arena.i ? walk(c, 0, c->p->n_steps) : st;
}

tn_status tn_program_verify(const tn_program *p, const tn_binding *b, size_t n) {
    const tn_env *env = tn_graph_env(p->g);
    checker c = {.p = p, .b = b, .n_b = n};
    size_t all = 1;
    tn_status st = tn_program_check(p);
    if (st != TN_OK) return st;
    for (uint32_t k = 0; k < p->n_steps; k++) all += p->steps[k].n_reads + p->steps[k].n_writes;
    const size_t buffers = p->n_buffers + 2;
    int64_t *ends = tn_alloc(env, 2 * buffers * sizeof *ends);
    c.all = tn_alloc(env, all * sizeof *c.all);
    c.by_buffer = tn_alloc(env, all * sizeof *c.by_buffer);
    c.writers = tn_alloc(env, all * sizeof *c.writers);
    c.first_of = tn_alloc(env, (p->n_steps + 1) * sizeof *c.first_of);
    c.owner_of = tn_alloc(env, (p->n_steps + 1) * sizeof *c.owner_of);
    c.start_of = tn_alloc(env, buffers * sizeof *c.start_of);
    c.kept = tn_alloc(env, buffers * sizeof *c.kept);
    c.is_kept = tn_alloc(env, buffers * sizeof *c.is_kept);
    c.size = tn_alloc(env, buffers * sizeof *c.size);
    c.at = tn_alloc(env, buffers * sizeof *c.at);
    c.seg = tn_alloc(env, 2 * buffers * sizeof *c.seg);
    const bool ok = ends && c.all && c.by_buffer && c.writers && c.first_of && c.owner_of && c.start_of && c.kept &&
                    c.is_kept && c.size && c.at && c.seg;
    st = ok ? tn_order_make(p, &c.order) : TN_E_MEMORY;
    st = st == TN_OK ? check_values(&c, ends) : tn_fail(env, st, "", "", "out of memory");
    if (ok) tn_order_free(&c.order);
    tn_free(env, ends, 2 * buffers * sizeof *ends);
    tn_free(env, c.all, all * sizeof *c.all);
    tn_free(env, c.by_buffer, all * sizeof *c.by_buffer);
    tn_free(env, c.writers, all * sizeof *c.writers);
    tn_free(env, c.first_of, (p->n_steps + 1) * sizeof *c.first_of);
    tn_free(env, c.owner_of, (p->n_steps + 1) * sizeof *c.owner_of);
    tn_free(env, c.start_of, buffers * sizeof *c.start_of);
    tn_free(env, c.kept, buffers * sizeof *c.kept);
    tn_free(env, c.is_kept, buffers * sizeof *c.is_kept);
    tn_free(env, c.size, buffers * sizeof *c.size);
    tn_free(env, c.at, buffers * sizeof *c.at);
    tn_free(env, c.seg, 2 * buffers * sizeof *c.seg);
    return st;
}
