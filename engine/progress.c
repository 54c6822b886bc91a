/* progress.c - owns the drawing of progress. Nothing here can fail or slow a job down: drawing happens at most ten times a second on a
 * terminal and every five seconds elsewhere, so that logs stay short. */
#include "engine/progress.h"

#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { BAR = 24, LINE = 512 };
static const double tty_every = 0.1, log_every = 5.0;

double progress_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_init(Progress *p, FILE *to) {
    memset(p, 0, sizeof *p);
    p->to = to;
    p->tty = to && isatty(fileno(to));
    struct winsize window;
    p->columns = p->tty && !ioctl(fileno(to), TIOCGWINSZ, &window) && window.ws_col > 20 ? window.ws_col : 100;
}

static void seconds_text(double s, char out[32]) {
    unsigned t = s < 0 || s > 359999 ? 359999 : (unsigned)(s + 0.5);
    if (t >= 3600) snprintf(out, 32, "%u:%02u:%02u", t / 3600, t / 60 % 60, t % 60);
    else snprintf(out, 32, "%u:%02u", t / 60, t % 60);
}

static void rate_text(const Progress *p, double seconds, char out[48]) {
    double made = (double)(p->done - p->resumed), rate = seconds > 0 ? made / seconds : 0;
    if (made <= 0 || seconds <= 0) out[0] = 0;
    else if (rate >= 1) snprintf(out, 48, "%.*f %s/s", rate < 10 ? 2 : rate < 100 ? 1 : 0, rate, p->unit);
    else snprintf(out, 48, "%.1f s each", 1 / rate);
}

static void erase(Progress *p) {
    if (p->on_screen) fputs("\r\033[K", p->to);
    p->on_screen = 0;
}

static void draw(Progress *p, double now) {
    char line[LINE], bar[BAR + 3] = "", rate[48], left[32], done[64];
    double seconds = now - p->started, made = (double)(p->done - p->resumed);
    rate_text(p, seconds, rate);
    left[0] = 0;
    if (p->total > 0) {
        double share = p->done >= p->total ? 1 : (double)p->done / (double)p->total;
        snprintf(done, sizeof done, "%lld/%lld %s", (long long)p->done, (long long)p->total, p->unit);
        if (p->tty) {
            int filled = (int)(share * BAR);
            bar[0] = '[';
            memset(bar + 1, '#', (size_t)filled);
            memset(bar + 1 + filled, '.', (size_t)(BAR - filled));
            memcpy(bar + 1 + BAR, "]", 2);
        } else snprintf(bar, sizeof bar, "%3.0f %%", 100 * share);
        if (made > 0) seconds_text(seconds / made * (double)(p->total - p->done), left);
    } else snprintf(done, sizeof done, "%lld %s", (long long)p->done, p->unit);
    snprintf(line, sizeof line, "%s %s%s%s%s%s%s%s%s%s", p->label, bar, bar[0] ? " " : "", done, rate[0] ? "  " : "", rate,
        left[0] ? "  left " : "", left, p->note[0] ? "  " : "", p->note);
    if (p->tty) {
        if ((int)strlen(line) >= p->columns) line[p->columns - 1] = 0;
        fprintf(p->to, "\r%s\033[K", line);
        p->on_screen = 1;
    } else fprintf(p->to, "%s\n", line);
    fflush(p->to);
    p->drawn = now;
}

static void draw_if_due(Progress *p) {
    double now = progress_seconds();
    if (now - p->drawn >= (p->tty ? tty_every : log_every)) draw(p, now);
}

void progress_begin(Progress *p, const char *label, const char *unit, int64_t total, int64_t already_done) {
    if (!p || !p->to) return;
    progress_end(p);
    snprintf(p->label, sizeof p->label, "%s", label);
    snprintf(p->unit, sizeof p->unit, "%s", unit);
    p->note[0] = 0;
    p->done = p->resumed = already_done;
    p->total = total;
    p->open = 1;
    p->started = progress_seconds();
    p->drawn = p->tty ? 0 : p->started; /* a log's first line comes after its interval, so that short jobs leave only their last */
    draw_if_due(p);
}

void progress_add(Progress *p, int64_t n) {
    if (!p || !p->open) return;
    p->done += n;
    draw_if_due(p);
}

void progress_note(Progress *p, const char *format, ...) {
    if (!p || !p->open) return;
    va_list args;
    va_start(args, format);
    vsnprintf(p->note, sizeof p->note, format, args);
    va_end(args);
    draw_if_due(p);
}

void progress_say(Progress *p, const char *format, ...) {
    if (!p || !p->to) return;
    erase(p);
    va_list args;
    va_start(args, format);
    vfprintf(p->to, format, args);
    va_end(args);
    putc('\n', p->to);
    if (p->open && p->tty) draw(p, progress_seconds());
    fflush(p->to);
}

void progress_end(Progress *p) {
    if (!p || !p->open) return;
    char rate[48], took[32];
    double seconds = progress_seconds() - p->started;
    erase(p);
    p->open = 0;
    if (p->done == p->resumed && p->done < p->total) return; /* failed before anything was done: the error says more */
    rate_text(p, seconds, rate);
    seconds_text(seconds, took);
    fprintf(p->to, "%s: %lld %s in %s%s%s%s%s\n", p->label, (long long)p->done, p->unit, took, rate[0] ? ", " : "", rate,
        p->note[0] ? "  " : "", p->note);
    fflush(p->to);
}
