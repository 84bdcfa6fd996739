/* mock_cuda.h: what a test can set and see of the mock driver and cuBLASLt (mock_cuda.c, mock_cublaslt.c).
 *
 * "Device" memory is host memory.  Kernels are known by name and compute something simple, so that results can be
 * checked:
 *
 *     k_mul {x, w, y, n}    y[i] = x[i] * w[i % 4]
 *     k_inc {x, y, n}       y[i] = x[i] + 1
 *     k_twice {x, y, n}     y[i] = 2 * x[i]
 *     k_less {x, y, n}      y[0] = x[0] < n, a bool
 *     k_map {x, y, n, map}  k_inc on a matrix, seen through a tensor map of x
 *
 * Conditional nodes of graphs work; what runs shows as decide, copy and fill beside the kernels.
 *
 * While `slow` is set, memory that two streams use one after the other must change hands by an event or a wait of the
 * host; otherwise that is a violation.
 *
 * Other kernels do nothing, where a test allows them; the tuner, whose checker is one of them, then finds every result
 * right. */
#ifndef TENON_TEST_MOCK_CUDA_H
#define TENON_TEST_MOCK_CUDA_H

typedef struct mock_cuda {
    /* settings */
    int driver_version, device_count, cc;
    int smem_block;        /* bytes of shared memory a block may have */
    const char *fail_call; /* this function fails ... */
    int fail_skip;         /* ... after so many calls ... */
    int fail_code;         /* ... with this CUresult */
    int other_kernels;     /* modules have every function that they are asked for */
    int slow_loads;        /* kernels of the next so many modules take a hundred times as long when they first run */
    int wrong;             /* so many of the tuner's checks find a wrong result */
    int idle;              /* kernels and products do nothing: their arguments may be nonsense */
    unsigned long memory;  /* bytes that one allocation may have; 0: no limit */
    int most_syncs;        /* waiting for a stream fails after so many waits; 0: never */
    int slow;              /* work is not done until it is waited for or this is 0; ordering is checked: see below */
    int fast_carveout; /* a graph whose kernels all have it (percent plus 1) takes half the time; 0: none, -1: one of plain
                          launches does, -2: one whose kernels come one after the other */
    const char *fast_name; /* a graph that runs this kernel takes half the time; NULL: none */
    int fast_block; /* a whole network (a graph without tn_check_step) with a kernel of so many threads does, too; 0: none */
    long wrong_size; /* and every one of a result of so many elements; 0: none */
    /* counts */
    int fast;   /* the graph that was launched last was one of those */
    int checks; /* of results by the tuner */
    int allocs, frees, syncs, launches, graph_launches, instantiations, set_params, module_loads, heuristics;
    int queries, stream_waits; /* of events */
    int encodings;             /* of tensor maps */
    unsigned grid_x;           /* of the last launch */
    unsigned long bytes, most_bytes;
    /* objects alive: 0 once everything is freed */
    int live_allocs, live_modules, live_streams, live_graphs, live_execs, live_events, live_lt, retained;
    int context_depth;
    /* a rule of the driver that was broken; empty if none */
    char violation[128];
    /* what ran, in order: names, "+p" after one that may overlap its predecessor, "+c" after one in clusters, "+t" after one
     * whose blocks all run at the same time */
    char ran[4096];
} mock_cuda;

typedef mock_cuda *(*mock_cuda_get_fn)(void); /* exported as mock_cuda_get */
/* exported as mock_capture: begins or ends the capture of a stream in global mode as an application would; NULL begins,
 * and the graph that ending returns can be run with mock_run_graph */
typedef void *(*mock_stream_fn)(void);
typedef void *(*mock_capture_fn)(void *stream, int begin);
typedef void (*mock_run_graph_fn)(void *graph);
typedef void (*mock_drop_graph_fn)(void *graph); /* as cuGraphDestroy */

#endif
