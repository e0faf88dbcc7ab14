/* Files by the C library that comes with Zig. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void check(int ok, const char *what) {
    if (!ok) {
        printf("%s: %s\n", what, strerror(errno));
        exit(2);
    }
}

int main(int argc, char **argv) {
    char line[256];
    struct stat st;
    int lines = 0;
    check(chdir("/data") == 0, "chdir");
    check(mkdir("made", 0777) == 0 || errno == EEXIST, "mkdir");
    FILE *file = fopen("made/numbers", "w+");
    check(file != NULL, "open");
    for (int i = 0; i < 10000; i++)
        fprintf(file, "%d %g\n", i, i / 7.0);
    rewind(file);
    while (fgets(line, sizeof line, file))
        lines++;
    check(fseek(file, -20, SEEK_END) == 0, "seek");
    check(fgets(line, sizeof line, file) != NULL, "read");
    check(fclose(file) == 0, "close");
    check(stat("made/numbers", &st) == 0, "stat");
    printf("%d lines, %lld bytes, near the end: %s", lines, (long long)st.st_size, line);
    check(rename("made/numbers", "made/renamed") == 0, "rename");
    printf("gone: %s\n", access("made/numbers", F_OK) ? strerror(errno) : "no");
    printf("out: %s\n", fopen("../../etc/passwd", "r") ? "opened" : "refused");
    DIR *dir = opendir("made");
    check(dir != NULL, "opendir");
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            printf("%s\n", entry->d_name);
    check(unlink("made/renamed") == 0 && rmdir("made") == 0, "remove");
    return argc > 1 ? atoi(argv[1]) : 0;
}
