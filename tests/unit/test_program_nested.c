/* Random programs whose steps own others: the passes leave them right, on one stream and on several.  They are run on
 * hashes instead of bytes, conditions being what the hashes say, once with a memory of its own for every buffer and then
 * in the arena, in list order and in others that are allowed.  What the verifier accepts of programs that were made wrong
 * is right all the same. */
#include "codegen/program/program.h"
#include "tests/unit/graph_gen.h"
#include "tests/unit/suite.h"

static gen_log log_;
static const tn_env env_ = {.diag = gen_diag, .diag_user = &log_};

/* ---- making one -------------------------------------------------------------------------------------------------- */

enum { MAX_KNOWN = 64, SIZE = 8, DEPTH = 3, DATA = 3 };

typedef struct maker {
    tn_program *p;
    gen r;
    uint32_t known[MAX_KNOWN], n; /* buffers of SIZE bytes that have surely been written */
    int depth;
} maker;

static tn_dim bytes(maker *k, int64_t n) {
    return tn_dim_const(k->p->g, n);
}

static tn_extent whole(maker *k, uint32_t buffer) {
    return (tn_extent){buffer, bytes(k, 0), k->p->buffers[buffer].bytes, {0}, {0}};
}

static uint32_t scratch(maker *k, int64_t size) {
    return tn_program_add_buffer(k->p, TN_BUFFER_SCRATCH, 0, "", bytes(k, size));
}

static uint32_t any(maker *k) {
    return k->known[gen_next(&k->r, k->n)];
}

static void learn(maker *k, uint32_t buffer) {
    if (k->n < MAX_KNOWN) k->known[k->n++] = buffer;
}

/* Reads up to three known buffers and writes one, perhaps over the first. */
static void launch(maker *k, uint32_t to) {
    const uint32_t reads = 1 + gen_next(&k->r, 3), over = gen_next(&k->r, 2);
    tn_prog_step *s = tn_program_add_step(k->p, TN_STEP_LAUNCH, "launch", reads, 1, over, 0);
    for (uint32_t i = 0; i < reads; i++) s->reads[i] = whole(k, any(k));
    s->writes[0] = whole(k, to);
    if (over) s->in_place[0] = (tn_in_place){0, 0};
    s->us = 1 + gen_next(&k->r, 9);
}

static void copy(maker *k, uint32_t from, uint32_t to) {
    tn_prog_step *s = tn_program_add_step(k->p, TN_STEP_COPY, "copy", 1, 1, 0, 0);
    s->reads[0] = whole(k, from);
    s->writes[0] = whole(k, to);
}

static uint32_t control(maker *k, tn_step_kind kind, uint32_t flag) {
    tn_prog_step *s = tn_program_add_step(k->p, kind, kind == TN_STEP_IF ? "if" : "while", 1, 0, 0, 0);
    s->reads[0] = whole(k, flag);
    return k->p->n_steps - 1;
}

static void some_steps(maker *k, uint32_t n);

static void add_branch(maker *k) {
    const uint32_t flag = scratch(k, 1), result = scratch(k, SIZE), n = k->n;
    launch(k, flag);
    const uint32_t at = control(k, TN_STEP_IF, flag);
    for (int i = 0; i < 2; i++) {
        const uint32_t first = k->p->n_steps;
        some_steps(k, gen_next(&k->r, 4));
        if (gen_next(&k->r, 2))
            launch(k, result);
        else
            copy(k, any(k), result);
        k->p->steps[at].body[i] = k->p->n_steps - first;
        k->n = n;
    }
    learn(k, result);
}

static void add_loop(maker *k) {
    const uint32_t flag = scratch(k, 1), n = k->n;
    uint32_t carried[2], next[2];
    launch(k, flag);
    for (int i = 0; i < 2; i++) copy(k, any(k), carried[i] = scratch(k, SIZE));
    for (int i = 0; i < 2; i++) learn(k, carried[i]);
    const uint32_t at = control(k, TN_STEP_WHILE, flag);
    some_steps(k, 1 + gen_next(&k->r, 4));
    for (int i = 0; i < 2; i++) launch(k, next[i] = scratch(k, SIZE));
    launch(k, flag);
    for (int i = 0; i < 2; i++) copy(k, next[i], carried[i]);
    k->p->steps[at].body[0] = k->p->n_steps - at - 1;
    k->n = n;
    for (int i = 0; i < 2; i++) learn(k, carried[i]);
}

static void some_steps(maker *k, uint32_t n) {
    k->depth++;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t what = gen_next(&k->r, 6);
        if (what == 0 && k->depth < DEPTH) {
            add_branch(k);
        } else if (what == 1 && k->depth < DEPTH) {
            add_loop(k);
        } else {
            const uint32_t to = scratch(k, SIZE);
            launch(k, to);
            learn(k, to);
        }
    }
    k->depth--;
}

static void number_buffers(tn_program *p) {
    uint32_t n[TN_BUFFER_KINDS] = {0};
    for (uint32_t k = 0; k < p->n_buffers; k++) p->buffers[k].index = n[p->buffers[k].kind]++;
}

static tn_program *make(uint64_t seed) {
    maker k = {.p = tn_program_new(tn_graph_new(&env_), "random"), .r = {.state = seed}};
    learn(&k, tn_program_add_buffer(k.p, TN_BUFFER_INPUT, 0, "x", bytes(&k, SIZE)));
    some_steps(&k, 12);
    launch(&k, tn_program_add_buffer(k.p, TN_BUFFER_OUTPUT, 0, "y", bytes(&k, SIZE)));
    launch(&k, tn_program_add_buffer(k.p, TN_BUFFER_OUTPUT, 1, "z", bytes(&k, SIZE)));
    number_buffers(k.p);
    return k.p;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

typedef struct image {
    const tn_program *p;
    uint64_t **buffer; /* a hash a byte */
    uint64_t *memory;
    uint64_t data;
} image;

static int64_t number(const tn_program *p, tn_dim d) {
    int64_t v = -1;
    ck_assert(tn_dim_is_const(p->g, d, &v));
    return v;
}

/* apart: no two buffers share a byte. */
static image open_image(const tn_program *p, bool apart, uint64_t data) {
    image m = {.p = p, .buffer = calloc(p->n_buffers, sizeof *m.buffer), .data = data};
    size_t total = apart ? 0 : (size_t)number(p, p->arena);
    for (int pass = 0; pass < 2; pass++) {
        size_t end = apart ? 0 : (size_t)number(p, p->arena);
        for (uint32_t k = 0; k < p->n_buffers; k++) {
            const bool in_arena = p->buffers[k].kind == TN_BUFFER_SCRATCH && !apart;
            const size_t at = in_arena ? (size_t)number(p, p->buffers[k].at) : end;
            if (m.memory) m.buffer[k] = m.memory + at;
            if (!in_arena) end += (size_t)number(p, p->buffers[k].bytes);
        }
        total = end > total ? end : total;
        if (!m.memory) m.memory = calloc(total, sizeof *m.memory);
    }
    return m;
}

static void close_image(image *m) {
    free(m->buffer);
    free(m->memory);
}

static uint64_t mix(uint64_t a, uint64_t b) {
    a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    return a ^ a >> 29;
}

static uint64_t read(const image *m, const tn_extent *e) {
    const int64_t n = number(m->p, e->bytes);
    uint64_t h = e->buffer;
    for (int64_t k = 0; k < n; k++) h = mix(h, m->buffer[e->buffer][k]);
    return h;
}

static void run_unit(const image *m, uint32_t k);

static void run_steps(const image *m, uint32_t first, uint32_t end) {
    for (uint32_t k = first; k < end; k = tn_prog_end(m->p, k)) run_unit(m, k);
}

/* A step with what it owns.  Loops end after four iterations at the latest. */
static void run_unit(const image *m, uint32_t k) {
    const tn_prog_step *s = &m->p->steps[k];
    const uint32_t middle = k + 1 + s->body[0], end = tn_prog_end(m->p, k);
    uint64_t h = mix(m->data, k + 1);
    if (s->kind == TN_STEP_IF) {
        const bool v = read(m, &s->reads[0]) >> 7 & 1;
        run_steps(m, v ? k + 1 : middle, v ? middle : end);
        return;
    }
    for (int n = 0; s->kind == TN_STEP_WHILE && n < 4 && read(m, &s->reads[0]) >> 7 & 3; n++) run_steps(m, k + 1, end);
    for (uint32_t i = 0; i < s->n_reads; i++) h = mix(h, read(m, &s->reads[i]));
    for (uint32_t i = 0; i < s->n_writes; i++)
        for (int64_t j = 0; j < number(m->p, s->writes[i].bytes); j++)
            m->buffer[s->writes[i].buffer][j] = mix(h, (uint64_t)j) | 1;
}

static bool is_ready(const tn_program *p, const bool *done, uint32_t k) {
    const tn_prog_step *s = &p->steps[k];
    if (done[k]) return false;
    for (uint32_t j = 0; j < k; j++)
        if (p->steps[j].stream == s->stream && !done[j]) return false;
    for (uint32_t i = 0; i < s->n_after; i++)
        if (!done[s->after[i]]) return false;
    return true;
}

/* A hash of the outputs, in list order (order 0) or in another that is allowed. */
static uint64_t outputs(const tn_program *p, bool apart, uint64_t data, uint64_t order) {
    image m = open_image(p, apart, data);
    bool *done = calloc(p->n_steps, sizeof *done);
    gen r = {.state = order};
    uint64_t h = 7;
    for (;;) {
        uint32_t pick = p->n_steps, ready = 0;
        for (uint32_t k = 0; k < p->n_steps && (order || !ready); k = tn_prog_end(p, k))
            if (is_ready(p, done, k) && gen_next(&r, ++ready) == 0) pick = k;
        if (pick == p->n_steps) break;
        run_unit(&m, pick);
        for (uint32_t k = pick; k < tn_prog_end(p, pick); k++) done[k] = true;
    }
    for (uint32_t k = 0; k < p->n_steps; k++) ck_assert(done[k]);
    for (uint32_t k = 0; k < p->n_buffers; k++)
        for (int64_t i = 0; p->buffers[k].kind == TN_BUFFER_OUTPUT && i < number(p, p->buffers[k].bytes); i++)
            h = mix(h, m.buffer[k][i]);
    free(done);
    close_image(&m);
    return h;
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void plan(tn_program *p, uint32_t streams) {
    const tn_program_options o = {.streams = streams};
    ck_assert_msg(tn_program_run(p, NULL, &o) == TN_OK, "%s", log_.text);
}

static bool is_right(const tn_program *p, const uint64_t *want, uint64_t orders) {
    for (uint64_t data = 0; data < DATA; data++)
        for (uint64_t order = 0; order <= orders; order++)
            if (outputs(p, false, data, order) != want[data]) return false;
    return true;
}

START_TEST(random_programs) {
    const uint32_t streams = _i ? 3 : 1;
    uint32_t nested = 0, shared = 0, parallel = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        tn_program *p = make(seed * 1000 + streams);
        uint64_t want[DATA];
        int64_t all = 0;
        for (uint64_t data = 0; data < DATA; data++) want[data] = outputs(p, true, data, 0);
        plan(p, streams);
        ck_assert_msg(tn_program_verify(p, NULL, 0) == TN_OK, "seed %u: %s", (unsigned)seed, log_.text);
        ck_assert_msg(is_right(p, want, streams > 1 ? 2 : 0), "seed %u", (unsigned)seed);
        for (uint32_t k = 0; k < p->n_buffers; k++) all += number(p, p->buffers[k].bytes);
        shared += number(p, p->arena) / 32 < all / 2;
        parallel += p->n_streams > 1;
        for (uint32_t k = 0; k < p->n_steps; k++) nested += tn_prog_is_control(&p->steps[k]);
        tn_program_free(p);
    }
    ck_assert_msg(nested > 40 && shared > 10 && (streams == 1 || parallel > 5), "%u %u %u", nested, shared, parallel);
}
END_TEST

/* Moves one buffer to where another is, or takes an edge away. */
static bool spoil(tn_program *p, gen *r) {
    const uint32_t a = gen_next(r, p->n_buffers), b = gen_next(r, p->n_buffers), k = gen_next(r, p->n_steps);
    if (gen_next(r, 4) == 0) {
        if (!p->steps[k].n_after) return false;
        p->steps[k].n_after--;
        return true;
    }
    if (p->buffers[a].kind != TN_BUFFER_SCRATCH || p->buffers[b].kind != TN_BUFFER_SCRATCH) return false;
    if (p->buffers[a].bytes.i != p->buffers[b].bytes.i || p->buffers[a].at.i == p->buffers[b].at.i) return false;
    p->buffers[a].at = p->buffers[b].at;
    return true;
}

START_TEST(spoilt) {
    uint32_t refused = 0, accepted = 0;
    gen r = {.state = 5};
    for (uint64_t seed = 1; seed <= 80; seed++) {
        const uint32_t streams = 1 + (uint32_t)(seed % 3);
        tn_program *p = make(seed);
        uint64_t want[DATA];
        for (uint64_t data = 0; data < DATA; data++) want[data] = outputs(p, true, data, 0);
        plan(p, streams);
        if (spoil(p, &r)) {
            const tn_status st = tn_program_verify(p, NULL, 0);
            ck_assert(st == TN_OK || st == TN_E_VERIFY);
            if (st == TN_OK) ck_assert_msg(is_right(p, want, 3), "seed %u", (unsigned)seed);
            *(st == TN_OK ? &accepted : &refused) += 1;
        }
        tn_program_free(p);
    }
    ck_assert_msg(refused > 15 && accepted > 5, "%u refused, %u accepted", refused, accepted);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("program_nested");
    TCase *tc = tcase_create("nested");
    tcase_set_timeout(tc, 180);
    tcase_add_loop_test(tc, random_programs, 0, 2);
    tcase_add_test(tc, spoilt);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
