/* cudart.h - the emulated CUDA runtime that is linked in place of libcudart, for the parts of it and for its tests.
 *
 * It behaves as the real one does where that differs from plain C, and is as unhelpful as the real one may be:
 *   - work is queued and runs as late as it may: when the host waits, or (SIMT_SCHEDULE=random) at any call; streams that no event orders
 * run interleaved at random (SIMT_SEED);
 *   - device memory holds 0xFF (NaN) when new, and the host that touches it faults, with a message that names the allocation;
 *   - a copy from pinned memory reads it when it runs, not when it is queued;
 *   - work given to a stream that captures is not run, and calls that the runtime forbids meanwhile spoil the capture (cudart_graph.cpp);
 *   - an error stays the last one until cudaGetLastError; one found while waiting stays for ever.
 * Ranges of copies must lie within one allocation; what is written around allocations, and what is not freed at exit, ends the process.
 *
 * Work may depend on other processes (nccl.cpp). While nothing else can run it is asked again and again, with pauses; simt_progress goes on
 * with it when the host waits for something that is not the device.
 *
 * SIMT_FAIL_CALL=n fails the n-th call of the runtime, of launches and of cuBLASLt; SIMT_CALLS=FILE writes the names of all calls there, a
 * line each; SIMT_MEMORY=bytes is what the device has, SIMT_MULTIPROCESSORS how many of those; SIMT_DEVICE=none|nodriver|7.5 is another
 * machine; SIMT_DEVICES=n is how many GPUs the node has, shared by all processes on it: not set, each process has one of its own. One host
 * thread calls at a time. */
#ifndef RLAIFV_TESTS_SIMT_CUDART_H
#define RLAIFV_TESTS_SIMT_CUDART_H

#include <cuda_runtime_api.h>

#include <deque>
#include <functional>
#include <memory>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <vector>

/* ---- calls (cudart.cpp) ---- */

/* Counts a call. An error when it is the one to fail, or when an earlier error stays; the caller returns it. */
cudaError_t runtime_call(const char *name);
/* Counts from 0 again, into the file that SIMT_CALLS names now: for tests. */
void runtime_calls_restart(void);
/* The value of an environment variable that is a whole number, or `otherwise` where it is not set. */
int64_t runtime_setting(const char *name, int64_t otherwise);
/* First in every call. */
#define RUNTIME_CALL()                                                                                                                     \
    do {                                                                                                                                   \
        cudaError_t call_error_ = runtime_call(__func__);                                                                                  \
        if (call_error_) return call_error_;                                                                                               \
    } while (0)
/* The same code, which is the last error now. */
cudaError_t runtime_failed(cudaError_t code);

/* ---- streams (cudart.cpp) ---- */

/* Of an event. Records are numbered: a wait is for the record that was the last when it was queued. */
struct Record {
    uint64_t queued, done;
    int captured; /* the last one was made on a stream that captured */
    struct timespec at;
};
/* A piece of work. Captured, it is a node of a graph, and its kind and direction say which nodes may take its place. */
enum WorkKind { WORK_KERNEL, WORK_COPY, WORK_MEMSET, WORK_EVENT };
struct Work {
    WorkKind kind;
    int direction; /* of a copy, as cudaMemcpyKind has it */
    std::function<void()> run;
    std::shared_ptr<Record> waits; /* for its record number `until` */
    uint64_t until;
    std::function<int()> advance; /* in place of run, for work that needs other processes */
};
struct CUstream_st {
    std::deque<Work> queue;
    int waits_for_default; /* 0: cudaStreamNonBlocking */
    cudaStreamCaptureStatus capture;
    std::vector<Work> captured;
};
/* Queues work, of other libraries (cublaslt.cpp) too, or hands it to the capture of the stream. */
void runtime_queue(cudaStream_t stream, Work work);
/* Work that needs other processes: `advance` does what it can, and is asked until it answers 1. */
void runtime_queue_shared(cudaStream_t stream, std::function<int()> advance);
/* Does one piece of work that can be done now; not zero when there was one. */
extern "C" int simt_progress(void);
/* Ends the process unless there is such a stream. */
void runtime_stream_check(const char *call, cudaStream_t stream);

/* ---- captures (cudart_graph.cpp): each returns an error that the call returns, after it has spoilt the capture, or 0 ---- */

/* Of a call that waits for a stream; of one that waits for the whole device (NULL). */
cudaError_t capture_refuses_wait(cudaStream_t stream);
/* Of a call that asks what has become of an event. */
cudaError_t capture_refuses_event(const Record &record);
/* Of a call that gives a stream work. */
cudaError_t capture_refuses_work(cudaStream_t stream);
/* Of a stream that is to wait for a record. */
cudaError_t capture_waits(cudaStream_t stream, const Record &record);
/* 1 when the stream captures: the work is kept, not to be queued. */
int capture_takes(cudaStream_t stream, const Work &work);

/* Handles that a caller got (1) and gave back (-1): those left at exit are leaks. */
void runtime_handle(int by);

/* ---- memory (cudart_memory.cpp) ---- */

enum MemoryKind { MEMORY_DEVICE, MEMORY_PINNED };
/* NULL when the device has no room. */
void *memory_new(MemoryKind kind, size_t bytes);
/* 0, or -1 when `at` is no start of a live allocation of that kind. Ends the process when memory around the allocation was written. */
int memory_free(MemoryKind kind, void *at);
/* Whether `at` lies in a live allocation of that kind. */
int memory_is(MemoryKind kind, const void *at);
/* "byte 7 of freed device memory \"weights\" (...)" of an address in or around an allocation, live or lately freed; NULL for any other. */
const char *memory_text(const void *at);
/* Ends the process unless [at, at + bytes) lies in one live allocation of device memory. */
void memory_check(const char *call, const void *at, size_t bytes);
/* Something other than a kernel has written device memory. */
void memory_written(const void *at, size_t bytes);
/* The host, or the device, is at work: device memory faults, or comes in sight, an allocation at a time, as it is touched. */
void memory_show(int runs);
void memory_info(size_t *free_bytes, size_t *total);
/* Allocations alive; each is named on stderr. */
int memory_leaks(void);
/* What messages call an allocation; given before anything is written there. */
extern "C" void simt_memory_name(const void *at, const char *name);

/* Says what is wrong and ends the process. */
[[noreturn]] void runtime_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
