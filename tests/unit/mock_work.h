/* mock_work.h: work of the mock driver, and in which order it was done. */
#ifndef TENON_TEST_MOCK_WORK_H
#define TENON_TEST_MOCK_WORK_H

#include "tests/unit/mock_driver.h"

enum { MAX_ARGS = 24, MAX_AFTER = 8, MAX_NODES = 128, MAX_STREAMS = 64, MAX_ALLOCATIONS = 1024, MAX_HANDLES = 256 };

typedef struct function {
    char name[64];
    int n_args;
    int smem;
} function;

/* Copies (from, to, bytes), fills (to, word, words of 1 or 4 bytes, their size), and conditional nodes. */
typedef enum other_kind { NO_OTHER, COPY, FILL, CONDITION, LOOP } other_kind;

typedef struct node {
    other_kind kind;
    const function *fn; /* NULL: lt, or what kind says */
    uint64_t args[MAX_ARGS];
    bool pdl, cluster, together;
    int carveout; /* percent plus 1 */
    unsigned block;
    mock_product lt;
    size_t after[MAX_AFTER], n_after; /* nodes of its graph */
    struct graph *body;
    uint64_t handle;
} node;

typedef struct graph {
    size_t n;
    node nodes[MAX_NODES];
} graph;

typedef struct stream {
    int id;
    graph *capture;
    bool global;                  /* the capture's mode */
    CUgraphNode after[MAX_AFTER]; /* what the next node depends on */
    size_t n_after;
} stream;

typedef struct allocation {
    const char *at;
    size_t size;
    int stream; /* that used it last */
    long seq;
} allocation;

/* Launches are numbered: which of another stream come before what a stream does next, and which the host saw end. */
typedef struct mock_order {
    long sequence, known[MAX_STREAMS][MAX_STREAMS], seen[MAX_STREAMS];
    allocation allocations[MAX_ALLOCATIONS];
} mock_order;
extern mock_order mock_launched;

/* What decides for conditional nodes; kernels that do nothing, of which one makes a graph fast; and the tuner's checks. */
extern const function mock_decide, mock_other, mock_fast, mock_compare, mock_step;

stream *mock_stream_of(CUstream s);
/* Runs the node, or puts it into what the stream captures. */
CUresult mock_submit(CUstream to, const node *x);
void mock_run_node(const node *x, const stream *on);
/* Runs each node once what it depends on has run, of all such nodes the last: another order than that of the capture
 * wherever the dependencies allow one. */
void mock_run_all(const graph *g, const stream *on);
/* Before a launch: nothing is decided yet. */
void mock_undecide(void);

#endif
