/* progress_test.c - what a log sees of a job, and what a terminal sees: the last line always, talk above the bar, nothing without a stream.
 */
#include "engine/progress.h"
#include "tests/check.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

static void test_log(void **state) {
    (void)state;
    Progress p;
    FILE *f = tmpfile();
    char text[1024] = "";
    assert_non_null(f);
    progress_init(&p, f);
    assert_false(p.tty);
    progress_say(&p, "before %d", 1);
    progress_begin(&p, "sample", "prompts", 4, 1);
    progress_add(&p, 1);
    progress_add(&p, 2);
    progress_note(&p, "loss %.1f", 0.5);
    progress_say(&p, "row dropped");
    progress_end(&p);
    progress_end(&p); /* a second end does nothing */
    p.drawn = 0;
    progress_begin(&p, "label", "probes", 10, 0);
    p.drawn = p.started - 60; /* as if a minute had gone by */
    progress_add(&p, 5);
    progress_begin(&p, "next", "steps", 0, 0); /* ends the one before */
    progress_add(&p, 3);
    progress_end(&p);
    rewind(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    assert_non_null(strstr(text, "before 1\nrow dropped\nsample: 4 prompts in 0:00, "));
    assert_non_null(strstr(text, "  loss 0.5\n"));
    assert_non_null(strstr(text, "label  50 % 5/10 probes  "));
    assert_non_null(strstr(text, "  left 0:00\nlabel: 5 probes in "));
    assert_non_null(strstr(text, "next: 3 steps in 0:00"));
    assert_null(strchr(text, '\r'));
    assert_null(strchr(text, '\033'));
}

static void test_terminal(void **state) {
    (void)state;
    Progress p;
    char text[4096] = "";
    int leader = posix_openpt(O_RDWR | O_NOCTTY);
    if (leader < 0 || grantpt(leader) || unlockpt(leader)) {
        print_message("skipped: no pseudo-terminal on this machine\n");
        skip();
    }
    FILE *f = fopen(ptsname(leader), "w");
    assert_non_null(f);
    progress_init(&p, f);
    assert_true(p.tty);
    p.columns = 60;
    progress_begin(&p, "train", "steps", 8, 0);
    p.drawn = 0;
    progress_add(&p, 4);
    progress_note(&p, "%s", "a note that is far too long for what is left of a line of sixty columns");
    p.drawn = 0;
    progress_add(&p, 1);
    progress_say(&p, "talk");
    progress_end(&p);
    fflush(f);
    for (size_t n = 0; !strstr(text, "5 steps in");) { /* a pseudo-terminal hands over what it has, in pieces */
        ssize_t got = read(leader, text + n, sizeof text - 1 - n);
        assert_true(got > 0);
        n += (size_t)got;
    }
    fclose(f);
    close(leader);
    assert_non_null(strstr(text, "\rtrain [........................] 0/8 steps"));
    assert_non_null(strstr(text, "\rtrain [############............] 4/8 steps"));
    assert_non_null(strstr(text, "\r\033[Ktalk\r\n")); /* the bar goes before talk */
    assert_non_null(strstr(text, "train: 5 steps in 0:00"));
    /* No drawn line is wider than the terminal, or it would wrap and scroll. */
    for (char *line = strtok(text, "\r\n"); line; line = strtok(NULL, "\r\n"))
        if (line[0] == 't' && strchr(line, '[') && strchr(line, '#')) assert_true(strcspn(line, "\033") < 60);
}

static void test_silent(void **state) {
    (void)state;
    Progress p;
    progress_init(&p, NULL);
    progress_begin(&p, "x", "y", 3, 0);
    progress_add(&p, 1);
    progress_note(&p, "n");
    progress_say(&p, "s");
    progress_end(&p);
    progress_begin(NULL, "x", "y", 3, 0);
    progress_add(NULL, 1);
    progress_note(NULL, "n");
    progress_say(NULL, "s");
    progress_end(NULL);
    double a = progress_seconds(), b = progress_seconds();
    assert_true(b >= a && a > 0);
}

int main(void) {
    const struct CMUnitTest progress_test[] = {
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_silent),
    };
    return cmocka_run_group_tests(progress_test, NULL, NULL);
}
