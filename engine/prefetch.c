/* prefetch.c - owns the threads that load files ahead, and the list of files to come.
 *
 * Files stand in one list in the order of asking. The caller's thread alone decides: it marks the next files as wanted while fewer than
 * `held` results exist, and takes or abandons them. Threads pick the first wanted file, load it without the lock, and leave the result.
 * What is being loaded when it is abandoned is dropped by the thread that made it. */
#include "engine/prefetch.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
    THREADS_MOST = 16,
    LOOK = 256 /* files from the first on among which an asked one is looked for: more are never passed over at once */
};

typedef enum ItemState {
    TO_COME,  /* no decision yet */
    NEEDLESS, /* nothing to load */
    WANTED,   /* a thread may begin */
    BEGUN,
    LOADED, /* result is there, NULL after a failure */
} ItemState;

typedef struct Item {
    ItemState state;
    int abandoned; /* while BEGUN: whoever loads it drops it */
    void *result;
    char path[];
} Item;

struct Prefetch {
    PrefetchWork work;
    int held_most, threads_most;
    /* guarded by the lock: */
    pthread_mutex_t lock;
    pthread_cond_t wanted, loaded;
    Item **items;                  /* first .. first + n - 1 */
    size_t first, n, decided, cap; /* decided: how many of them are no longer TO_COME; those stand first */
    int held;                      /* results and loads under way, abandoned ones too */
    int stop;
    pthread_t threads[THREADS_MOST];
    int threads_n;
};

Prefetch *prefetch_new(const PrefetchWork *work, int held, int threads, Error *e) {
    assert(held > 0 && threads > 0);
    Prefetch *p = mem_new(1, sizeof *p, "list of files to come", e);
    if (!p) return NULL;
    p->work = *work;
    p->held_most = held, p->threads_most = threads < THREADS_MOST ? threads : THREADS_MOST;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wanted, NULL);
    pthread_cond_init(&p->loaded, NULL);
    return p;
}

static Item *first_wanted(const Prefetch *p) {
    for (size_t i = 0; i < p->decided; i++)
        if (p->items[p->first + i]->state == WANTED) return p->items[p->first + i];
    return NULL;
}

static void *thread_run(void *context) {
    Prefetch *p = context;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        Item *item = first_wanted(p);
        if (!item) {
            pthread_cond_wait(&p->wanted, &p->lock);
            continue;
        }
        item->state = BEGUN;
        pthread_mutex_unlock(&p->lock);
        void *result = p->work.load(p->work.context, item->path);
        pthread_mutex_lock(&p->lock);
        item->result = result;
        item->state = LOADED;
        if (!result) p->held--;
        if (item->abandoned) {
            if (result) p->work.drop(result), p->held--;
            free(item);
        }
        pthread_cond_broadcast(&p->loaded);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Starts what threads there may be; with none, files are simply not loaded ahead. Signals are the caller's thread's. */
static void threads_start(Prefetch *p) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (p->threads_n < p->threads_most && !pthread_create(&p->threads[p->threads_n], NULL, thread_run, p)) p->threads_n++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    p->threads_most = p->threads_n;
}

/* Decides on the next files as far as there is room for their results. Under the lock. */
static void items_decide(Prefetch *p) {
    if (!p->threads_n && p->threads_most) threads_start(p);
    for (; p->threads_n && p->decided < p->n && p->decided < LOOK && p->held < p->held_most; p->decided++) {
        Item *item = p->items[p->first + p->decided];
        int needless = p->work.needless(p->work.context, item->path);
        for (size_t i = 0; i < p->decided && !needless; i++)
            needless = !strcmp(p->items[p->first + i]->path, item->path); /* its first time loads it */
        item->state = needless ? NEEDLESS : WANTED;
        if (needless) continue;
        p->held++;
        pthread_cond_signal(&p->wanted);
    }
}

/* Takes the first file off the list and lets go of it, but for a result that has `kept` to go to. Under the lock. */
static void item_leave(Prefetch *p, void **kept) {
    Item *item = p->items[p->first];
    p->first++, p->n--;
    if (p->decided) p->decided--;
    if (kept) *kept = NULL;
    if (item->state == BEGUN) {
        item->abandoned = 1;
        return;
    }
    if (item->state == WANTED) p->held--;
    if (item->state == LOADED && item->result) {
        p->held--;
        if (kept) *kept = item->result;
        else p->work.drop(item->result);
    }
    free(item);
}

void prefetch_add(Prefetch *p, const char *path) {
    size_t size = strlen(path) + 1;
    pthread_mutex_lock(&p->lock);
    Item *last = p->n ? p->items[p->first + p->n - 1] : NULL;
    if (!last || strcmp(last->path, path)) {
        if (p->first > p->n) { /* more room before the list than in it */
            memmove(p->items, p->items + p->first, p->n * sizeof *p->items);
            p->first = 0;
        }
        Item *item = mem_new(1, sizeof *item + size, "file to come", NULL);
        if (item && !mem_grow(&p->items, &p->cap, p->first + p->n + 1, sizeof *p->items, "files to come", NULL)) {
            memcpy(item->path, path, size);
            p->items[p->first + p->n++] = item;
            items_decide(p);
        } else free(item);
    }
    pthread_mutex_unlock(&p->lock);
}

void *prefetch_take(Prefetch *p, const char *path) {
    void *result = NULL;
    size_t at = 0;
    pthread_mutex_lock(&p->lock);
    while (at < p->n && at < LOOK && strcmp(p->items[p->first + at]->path, path)) at++;
    if (at < p->n && at < LOOK) {
        while (at-- > 0) item_leave(p, NULL);
        /* One that nobody has begun is sooner loaded by the caller than waited for. */
        while (p->items[p->first]->state == BEGUN) pthread_cond_wait(&p->loaded, &p->lock);
        item_leave(p, &result);
    }
    items_decide(p);
    pthread_mutex_unlock(&p->lock);
    return result;
}

void prefetch_clear(Prefetch *p) {
    pthread_mutex_lock(&p->lock);
    while (p->n) item_leave(p, NULL);
    p->first = 0;
    pthread_mutex_unlock(&p->lock);
}

void prefetch_free(Prefetch *p) {
    if (!p) return;
    prefetch_clear(p);
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_broadcast(&p->wanted);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->threads_n; i++) pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->wanted);
    pthread_cond_destroy(&p->loaded);
    pthread_mutex_destroy(&p->lock);
    free(p->items);
    free(p);
}
