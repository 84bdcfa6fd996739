/* Programs of random graphs, on one stream and on several: they verify, read back from their text, and every order that
 * streams and edges allow gives the bytes that list order gives.  Programs that were made wrong are found. */
#include "codegen/program/pack.h"
#include "tests/unit/failing.h"
#include "tests/unit/graph_gen.h"
#include "tests/unit/suite.h"

static gen_log log_;
static const tn_env env_ = {.diag = gen_diag, .diag_user = &log_};

/* ---- running a program on hashes instead of bytes ---------------------------------------------------------------- */

enum { SYMBOLS = 2 }; /* N and P */

typedef struct image {
    uint64_t **buffer; /* by buffer: outputs; scratch buffers point into the arena */
    int64_t *size;
    uint64_t *arena;
} image;

static int64_t at(const tn_program *p, tn_dim d, const tn_binding *b) {
    int64_t v = -1;
    ck_assert(tn_dim_eval(p->g, d, b, SYMBOLS, &v));
    return v;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    return a ^ a >> 29;
}

/* An output in the memory of an input is there, or (apart) has a buffer of its own with the same bytes. */
static image image_new(const tn_program *p, const tn_binding *b, bool apart) {
    image m = {calloc(p->n_buffers + 1, sizeof *m.buffer), calloc(p->n_buffers + 1, sizeof *m.size),
               calloc((size_t)at(p, p->arena, b) + 1, sizeof *m.arena)};
    for (uint32_t k = 0; k < p->n_buffers; k++) {
        m.size[k] = at(p, p->buffers[k].bytes, b);
        if (p->buffers[k].kind == TN_BUFFER_SCRATCH)
            m.buffer[k] = m.arena + at(p, p->buffers[k].at, b);
        else if (!apart && p->buffers[k].kept.bytes.i)
            m.buffer[k] = m.buffer[p->buffers[k].kept.buffer];
        else
            m.buffer[k] = calloc((size_t)m.size[k] + 1, sizeof **m.buffer);
        const uint32_t memory = tn_program_memory_of(p, k);
        for (int64_t i = 0; p->buffers[memory].kind == TN_BUFFER_INPUT && i < m.size[k]; i++)
            m.buffer[k][i] = mix(memory + 1, (uint64_t)i);
    }
    return m;
}

static void image_free(const tn_program *p, image *m) {
    for (uint32_t k = 0; k < p->n_buffers; k++)
        if (p->buffers[k].kind != TN_BUFFER_SCRATCH &&
            (m->buffer[k] != m->buffer[tn_program_memory_of(p, k)] || tn_program_memory_of(p, k) == k))
            free(m->buffer[k]);
    free(m->buffer);
    free(m->size);
    free(m->arena);
}

/* Whether a byte is the input's own in a buffer where an output grows: an extent of the input may have gaps where that is
 * written. */
static bool is_own(const tn_program *p, const tn_binding *b, uint32_t buffer, int64_t byte) {
    for (uint32_t k = 0; p->buffers[buffer].kind == TN_BUFFER_INPUT && k < p->n_buffers; k++) {
        const tn_extent *e = &p->buffers[k].kept;
        if (!e->bytes.i || e->buffer != buffer) continue;
        const int64_t from = byte - at(p, e->offset, b), pitch = e->pitch.i ? at(p, e->pitch, b) : 0;
        return from >= 0 && from < at(p, e->bytes, b) && (pitch <= 0 || from % pitch < at(p, e->run, b));
    }
    return true;
}

/* Reads the extent into a hash, or (value != 0) writes hashes of it. */
static uint64_t touch(const tn_program *p, const tn_binding *b, image *m, const tn_extent *e, uint64_t value) {
    const int64_t from = at(p, e->offset, b), n = at(p, e->bytes, b);
    const int64_t run = e->pitch.i ? at(p, e->run, b) : 0, pitch = e->pitch.i ? at(p, e->pitch, b) : 0;
    uint64_t h = e->buffer;
    for (int64_t k = 0; k < n; k++) {
        if (pitch > 0 && k % pitch >= run) continue;
        often_assert_msg(from + k >= 0 && from + k < m->size[e->buffer], "byte %d of an extent is outside", (int)k);
        uint64_t *byte = &m->buffer[e->buffer][from + k];
        if (!is_own(p, b, e->buffer, from + k)) continue;
        if (value) *byte = mix(value, (uint64_t)k);
        h = mix(h, *byte);
    }
    return h;
}

static void run_step(const tn_program *p, const tn_binding *b, image *m, uint32_t k) {
    const tn_prog_step *s = &p->steps[k];
    uint64_t h = mix(k + 1, 1);
    for (uint32_t i = 0; i < s->n_reads; i++) h = mix(h, touch(p, b, m, &s->reads[i], 0));
    for (uint32_t i = 0; i < s->n_writes; i++) touch(p, b, m, &s->writes[i], mix(h, i) | 1);
}

/* May run: its predecessor on its stream and what it must follow are done. */
static bool is_ready(const tn_program *p, const bool *done, uint32_t k) {
    const tn_prog_step *s = &p->steps[k];
    if (done[k]) return false;
    for (uint32_t j = k; j-- > 0;)
        if (p->steps[j].stream == s->stream) {
            if (!done[j]) return false;
            break;
        }
    for (uint32_t i = 0; i < s->n_after; i++)
        if (!done[s->after[i]]) return false;
    return true;
}

/* A hash of all outputs after a run in list order (seed 0) or in a random one that is allowed. */
static uint64_t outputs_of(const tn_program *p, const tn_binding *b, uint64_t seed, bool apart) {
    image m = image_new(p, b, apart);
    bool *done = calloc(p->n_steps + 1, sizeof *done);
    gen r = {.state = seed};
    uint64_t h = 7;
    for (uint32_t n = 0; n < p->n_steps; n++) {
        uint32_t pick = n, ready = 0;
        for (uint32_t k = 0; seed && k < p->n_steps; k++)
            if (is_ready(p, done, k) && gen_next(&r, ++ready) == 0) pick = k;
        ck_assert(!seed || ready > 0);
        run_step(p, b, &m, pick);
        done[pick] = true;
    }
    for (uint32_t k = 0; k < p->n_buffers; k++)
        for (int64_t i = 0; p->buffers[k].kind == TN_BUFFER_OUTPUT && i < m.size[k]; i++) h = mix(h, m.buffer[k][i]);
    free(done);
    image_free(p, &m);
    return h;
}

static uint64_t outputs(const tn_program *p, const tn_binding *b, uint64_t seed) {
    return outputs_of(p, b, seed, false);
}

/* ---- random graphs ----------------------------------------------------------------------------------------------- */

static tn_program *program_of(tn_graph *g, tn_memory *m, uint32_t streams) {
    tn_program *p = NULL;
    const tn_program_options o = {.streams = streams};
    ck_assert_msg(gen_run(&env_, g, "fuse", NULL) == TN_OK, "%s", log_.text);
    ck_assert_msg(tn_place_values(g, m) == TN_OK, "%s", log_.text);
    ck_assert_msg(tn_program_of_graph(g, m, &p) == TN_OK, "%s", log_.text);
    ck_assert_msg(tn_program_run(p, NULL, &o) == TN_OK, "%s", log_.text);
    return p;
}

static char *text_of(const tn_program *p) {
    char *text = NULL;
    size_t size;
    ck_assert_msg(tn_program_print(p, &text, &size) == TN_OK, "%s", log_.text);
    return text;
}

static void check_text(const tn_program *p) {
    tn_program *again;
    char *text = text_of(p);
    ck_assert_msg(tn_program_parse(&env_, "text", text, &again) == TN_OK, "%s in\n%s", log_.text, text);
    char *second = text_of(again);
    ck_assert_str_eq(text, second);
    tn_free(&env_, text, strlen(text) + 1);
    tn_free(&env_, second, strlen(second) + 1);
    tn_program_free(again);
}

static uint32_t check_graph(tn_graph *g, uint64_t seed, uint32_t streams) {
    tn_memory m;
    ck_assert_msg(g != NULL, "seed %u: %s", (unsigned)seed, log_.text);
    tn_program *p = program_of(g, &m, streams);
    const uint32_t used = p->n_streams;
    check_text(p);
    for (int64_t n = 0; n <= 3; n += n ? 2 : 1) {
        const tn_binding b[SYMBOLS] = {{"N", n}, {"P", (n + (int64_t)seed) % 5}};
        ck_assert_msg(tn_program_verify(p, b, SYMBOLS) == TN_OK, "seed %u at %d: %s", (unsigned)seed, (int)n,
                      log_.text);
        const uint64_t want = outputs(p, b, 0);
        ck_assert_msg(outputs_of(p, b, 0, true) == want, "seed %u at %d, in place", (unsigned)seed, (int)n);
        for (uint64_t order = 1; streams > 1 && order <= 3; order++)
            ck_assert_msg(outputs(p, b, order) == want, "seed %u at %d, order %d", (unsigned)seed, (int)n, (int)order);
    }
    tn_program_place(p, &m);
    const tn_binding three[SYMBOLS] = {{"N", 3}, {"P", (int64_t)seed % 5}};
    ck_assert_msg(tn_check_memory(g, &m, three, SYMBOLS, 1 << 24) == TN_OK, "seed %u: %s", (unsigned)seed, log_.text);
    tn_memory_free(g, &m);
    tn_graph_free(g);
    return used;
}

START_TEST(one_stream) {
    for (uint64_t seed = 1; seed <= 30; seed++) check_graph(gen_graph(&env_, seed, 24, seed % 2), seed, 1);
}
END_TEST

START_TEST(several_streams) {
    uint32_t used = 0;
    for (uint64_t seed = 200; seed < 245; seed++) {
        const uint32_t n = check_graph(gen_graph(&env_, seed, 24, seed % 2), seed, 2 + (uint32_t)(seed % 3));
        used += n > 1;
    }
    ck_assert_msg(used > 15, "only %u of 45 graphs used more than one stream", used);
}
END_TEST

/* Outputs in the memory of inputs. */
START_TEST(growing) {
    uint32_t parallel = 0;
    for (uint64_t seed = 700; seed < 736; seed++) {
        tn_graph *g = gen_growing_graph(&env_, seed, 20, seed % 3 > 0);
        ck_assert_msg(g != NULL, "seed %u: %s", (unsigned)seed, log_.text);
        ck_assert_uint_eq(gen_count(g, TN_OP_APPEND), 1);
        parallel += check_graph(g, seed, 1 + (uint32_t)(seed % 4)) > 1;
    }
    ck_assert_uint_gt(parallel, 8);
}
END_TEST

/* ---- wrong programs ---------------------------------------------------------------------------------------------- */

/* Takes one edge away, or moves one buffer or what is appended to an output; false if nothing was there. */
static bool spoil(tn_program *p, gen *r) {
    const uint32_t k = gen_next(r, p->n_steps);
    tn_prog_step *s = &p->steps[k];
    for (uint32_t i = 0; i < s->n_writes; i++)
        if (tn_program_memory_of(p, s->writes[i].buffer) != s->writes[i].buffer) {
            s->writes[i].offset = tn_dim_const(p->g, 4 * gen_next(r, 3));
            return true;
        }
    if (gen_next(r, 2)) {
        const uint32_t b = gen_next(r, p->n_buffers);
        int64_t arena = 0;
        if (p->buffers[b].kind != TN_BUFFER_SCRATCH || !tn_dim_is_const(p->g, p->arena, &arena)) return false;
        p->buffers[b].at = tn_dim_const(p->g, 0);
        return true;
    }
    if (!s->n_after) return false;
    s->n_after--;
    return true;
}

/* What the verifier accepts is right in every order that was tried; and it does refuse some. */
START_TEST(spoilt) {
    uint32_t refused = 0, accepted = 0;
    gen r = {.state = 99};
    for (uint64_t seed = 500; seed < 620; seed++) {
        tn_graph *g = (seed % 2 ? gen_growing_graph : gen_graph)(&env_, seed, 20, false);
        tn_memory m;
        tn_program *p = program_of(g, &m, 3);
        const tn_binding b[SYMBOLS] = {{"N", 1}, {"P", 3}};
        const uint64_t want = outputs(p, b, 0);
        if (spoil(p, &r)) {
            const tn_status st = tn_program_verify(p, b, SYMBOLS);
            ck_assert(st == TN_OK || st == TN_E_VERIFY);
            for (uint64_t order = 0; st == TN_OK && order < 4; order++) ck_assert(outputs(p, b, order) == want);
            *(st == TN_OK ? &accepted : &refused) += 1;
        }
        tn_memory_free(g, &m);
        tn_graph_free(g);
    }
    ck_assert_msg(refused > 10, "%u refused, %u accepted", refused, accepted);
}
END_TEST

START_TEST(out_of_memory) {
    bool done = false;
    for (int n = 0; n < 3000 && !done; n += n < 100 ? 1 : 13) {
        failing f = {.for_good = true};
        tn_env env = {.alloc = fail_alloc, .alloc_user = &f};
        tn_graph *g = gen_growing_graph(&env, 11, 30, true);
        tn_memory m;
        tn_program *p = NULL;
        char *text = NULL;
        size_t size = 0;
        const tn_program_options o = {.streams = 3};
        const tn_binding b[SYMBOLS] = {{"N", 2}, {"P", 3}};
        ck_assert_int_eq(gen_run(&env, g, "fuse", NULL), TN_OK);
        ck_assert_int_eq(tn_place_values(g, &m), TN_OK);
        fail_at(&f, n + 1);
        tn_status s = tn_program_of_graph(g, &m, &p);
        if (s == TN_OK) s = tn_program_run(p, NULL, &o);
        if (s == TN_OK) s = tn_program_verify(p, b, SYMBOLS);
        if (s == TN_OK) s = tn_program_print(p, &text, &size);
        ck_assert(s == TN_OK || s == TN_E_MEMORY);
        tn_program *again = NULL;
        if (s == TN_OK) s = tn_program_parse(&env, "text", text, &again);
        ck_assert(s == TN_OK || s == TN_E_MEMORY);
        done = s == TN_OK;
        tn_program_free(again);
        tn_free(&env, text, size + 1);
        tn_memory_free(g, &m);
        tn_graph_free(g);
        ck_assert_int_eq(f.live, 0);
    }
    ck_assert(done);
}
END_TEST

/* A program of steps that touch nothing, on some streams, some of which wait for others. */
static tn_program *order_program(tn_graph *g, gen *r, uint32_t n_steps, uint32_t streams) {
    tn_program *p = tn_program_new(g, "order");
    for (uint32_t k = 0; k < n_steps; k++) {
        tn_prog_step *s = tn_program_add_step(p, TN_STEP_LAUNCH, "", 0, 0, 0, 0);
        s->stream = gen_next(r, streams);
        s->after = tn_graph_alloc(g, 2 * sizeof *s->after);
        for (uint32_t i = k; i-- > 0 && s->n_after < 2;)
            if (gen_next(r, 8) == 0) s->after[s->n_after++] = i;
    }
    p->n_streams = streams;
    return p;
}

static uint32_t check_meetings(const tn_order *o, const tn_block *blocks, uint32_t n) {
    tn_meetings *m = tn_meetings_new(o, blocks, n);
    uint32_t *near = calloc(n, sizeof *near), total = 0;
    bool *found = calloc(n, sizeof *found);
    ck_assert(m && near && found);
    for (uint32_t k = 0; k < n; k++) {
        const uint32_t count = tn_meetings_of(m, k, near);
        memset(found, 0, n * sizeof *found);
        for (uint32_t i = 0; i < count; i++) {
            ck_assert(!found[near[i]]);
            found[near[i]] = true;
        }
        for (uint32_t i = 0; i < n; i++)
            ck_assert_msg(found[i] == (i != k && tn_lives_meet(o, &blocks[i].life, &blocks[k].life)), "%u and %u", i,
                          k);
        total += count;
    }
    free(near);
    free(found);
    tn_meetings_free(m);
    return total;
}

START_TEST(lives_that_meet_are_found) {
    enum { STEPS = 60, BLOCKS = 40 };
    uint32_t pairs = 0;
    for (uint32_t round = 0; round < 60; round++) {
        gen r = {.state = round + 1};
        tn_graph *g = tn_graph_new(&env_);
        tn_program *p = order_program(g, &r, STEPS, 1 + round % TN_MAX_STREAMS);
        tn_block blocks[BLOCKS] = {{.hint = 0}};
        tn_order o;
        ck_assert_int_eq(tn_order_make(p, &o), TN_OK);
        for (uint32_t k = 0; k < BLOCKS; k++) { /* most live shortly */
            const uint32_t first = gen_next(&r, STEPS), length = gen_next(&r, 8) ? 1 + gen_next(&r, 5) : STEPS;
            tn_life *l = &blocks[k].life;
            for (uint32_t i = first; i < STEPS && i < first + length; i++) {
                const uint32_t stream = p->steps[i].stream;
                if (i > first && gen_next(&r, 2)) continue;
                if (!l->first[stream]) l->first[stream] = i + 1;
                l->last[stream] = i + 1;
            }
        }
        const uint32_t n = round % (BLOCKS + 1);
        if (n) pairs += check_meetings(&o, blocks, n);
        tn_order_free(&o);
        tn_graph_free(g);
    }
    ck_assert_uint_gt(pairs, 5000);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("program");
    TCase *tc = tcase_create("program");
    tcase_set_timeout(tc, 180);
    tcase_add_test(tc, one_stream);
    tcase_add_test(tc, several_streams);
    tcase_add_test(tc, lives_that_meet_are_found);
    tcase_add_test(tc, growing);
    tcase_add_test(tc, spoilt);
    tcase_add_test(tc, out_of_memory);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
