/* plot.c - owns how a chart becomes SVG: gnuplot's script and what is taken of its output, and the plain lines that stand in for it.
 *
 * The script holds numbers and words of this file alone. gnuplot reads it from a file without a name and writes into another; it is asked
 * once a chart. */
#include "engine/report/curves.h"

#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SVG_MOST = 4 << 20 };

/* Mid tones, legible on white and on near black; configs/report/page.css has the same for its swatches. */
static const char *const palette[CURVE_COLOURS] = { "#2f7ed8", "#e07020", "#2a9d5c", "#c2459a", "#8a6fd1", "#b08a00", "#1899a8",
    "#d0473f" };

static void script_write(const CurveLine *lines, int n, int number, FILE *to) {
    double most = 0;
    for (int i = 0; i < n; i++)
        for (size_t j = 0; j < lines[i].n; j++) most = fmax(most, lines[i].x[j]);
    fprintf(to, "set terminal svg size %d,%d dynamic noenhanced font 'sans-serif,12' name 'c%d'\n", CURVE_WIDTH, CURVE_HEIGHT, number);
    fputs("set encoding utf8\nunset key\nset border 3\nset tics nomirror\nset xtics scale 0.5\nset ytics scale 0.5\nset grid ytics lt 1 lw "
          "0.5 dt 3\n"
          "set rmargin 2\nset tmargin 1\nset autoscale xfix\nset offsets graph 0.04, graph 0.04, 0, 0\nset format y '%g'\n",
        to);
    if (most <= 12) fputs("set xtics 1\n", to);
    fputs("plot", to);
    for (int i = 0; i < n; i++)
        fprintf(to, "%s '-' using 1:2 with %s lw 2 lc rgb '%s' notitle", i ? "," : "",
            lines[i].n > 40 ? "lines" : "linespoints pt 7 ps 0.4", palette[lines[i].colour % CURVE_COLOURS]);
    putc('\n', to);
    for (int i = 0; i < n; i++) {
        for (size_t j = 0; j < lines[i].n; j++) fprintf(to, "%.9g %.9g\n", lines[i].x[j], lines[i].y[j]);
        fputs("e\n", to);
    }
}

/* 0 when gnuplot ran and says all is well. */
static int gnuplot_run(FILE *script, FILE *out) {
    posix_spawn_file_actions_t files;
    char name[] = "gnuplot", *argv[] = { name, NULL };
    pid_t child;
    int status = 1;
    if (posix_spawn_file_actions_init(&files)) return -1;
    int bad = posix_spawn_file_actions_adddup2(&files, fileno(script), 0) || posix_spawn_file_actions_adddup2(&files, fileno(out), 1) ||
              posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0) ||
              posix_spawnp(&child, name, &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (bad || waitpid(child, &status, 0) != child) return -1;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* Takes whatever runs from `open` through `close` out of the text, each time. */
static void spans_drop(char *text, const char *open, const char *close) {
    for (char *from = text, *to; (from = strstr(from, open)) && (to = strstr(from, close));)
        to += strlen(close), memmove(from, to, strlen(to) + 1);
}

/* The element alone, without what a page may hold once: its own names, which show as tips, and the shapes of points after the first
 * chart. */
static char *svg_take(char *text, int number) {
    char *start = strstr(text, "<svg"), *end = start ? strstr(start, "</svg>") : NULL;
    if (!end) return free(text), NULL;
    memmove(text, start, (size_t)(end - start));
    strcpy(text + (end - start), "</svg>");
    spans_drop(text, "<title>", "</title>");
    spans_drop(text, "<desc>", "</desc>");
    spans_drop(text, " id=\"gnuplot_canvas\"", "\"gnuplot_canvas\"");
    if (number) spans_drop(text, "<defs>", "</defs>");
    return text;
}

char *curve_by_gnuplot(const CurveLine *lines, int n, int number) {
    FILE *script = tmpfile(), *out = tmpfile();
    char *text = NULL;
    if (script && out) {
        script_write(lines, n, number, script);
        if (!fflush(script) && !ferror(script) && lseek(fileno(script), 0, SEEK_SET) == 0 && !gnuplot_run(script, out)) {
            off_t size = lseek(fileno(out), 0, SEEK_END);
            text = size > 0 && size <= SVG_MOST ? calloc((size_t)size + 1, 1) : NULL;
            if (text && pread(fileno(out), text, (size_t)size, 0) != size) free(text), text = NULL;
        }
    }
    if (script) fclose(script);
    if (out) fclose(out);
    return text ? svg_take(text, number) : NULL;
}

void curve_by_hand(const CurveLine *lines, int n, FILE *to) {
    enum { LEFT = 60, RIGHT = CURVE_WIDTH - 12, TOP = 12, BOTTOM = CURVE_HEIGHT - 28 };
    double x[2] = { INFINITY, -INFINITY }, y[2] = { INFINITY, -INFINITY };
    for (int i = 0; i < n; i++)
        for (size_t j = 0; j < lines[i].n; j++) {
            x[0] = fmin(x[0], lines[i].x[j]), x[1] = fmax(x[1], lines[i].x[j]);
            y[0] = fmin(y[0], lines[i].y[j]), y[1] = fmax(y[1], lines[i].y[j]);
        }
    double across = x[1] > x[0] ? (RIGHT - LEFT) / (x[1] - x[0]) : 0, up = y[1] > y[0] ? (BOTTOM - TOP) / (y[1] - y[0]) : 0;
    fprintf(to, "<svg viewBox=\"0 0 %d %d\" xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" font-size=\"12\">\n",
        CURVE_WIDTH, CURVE_HEIGHT);
    fprintf(to, "<path d=\"M%d %d V%d H%d\" fill=\"none\" stroke=\"currentColor\"/>\n", LEFT, TOP, BOTTOM, RIGHT);
    fprintf(to, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.4g</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.4g</text>", LEFT - 6,
        BOTTOM + 4, y[0], LEFT - 6, TOP + 8, y[1]);
    fprintf(to, "<text x=\"%d\" y=\"%d\">%.4g</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.4g</text>\n", LEFT, BOTTOM + 18, x[0],
        RIGHT, BOTTOM + 18, x[1]);
    for (int i = 0; i < n; i++) {
        const char *colour = palette[lines[i].colour % CURVE_COLOURS];
        fprintf(to, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-linecap=\"round\" points=\"", colour);
        for (size_t j = 0; j < lines[i].n; j++)
            fprintf(to, "%.2f,%.2f ", LEFT + across * (lines[i].x[j] - x[0]), BOTTOM - up * (lines[i].y[j] - y[0]));
        if (lines[i].n == 1)
            fprintf(to, "%.2f,%.2f", LEFT + across * (lines[i].x[0] - x[0]), BOTTOM - up * (lines[i].y[0] - y[0])); /* a dot */
        fputs("\"/>\n", to);
    }
    fputs("</svg>", to);
}
