// Sends back in capitals what comes over connections to the listener that is descriptor 3, several at once, until one sends
// a line that is "quit".
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTENER = 3, MAX = 16 };

// Whether the program goes on, and whether the connection does.
static int serve(struct pollfd *connection) {
    char bytes[1024];
    ssize_t size = recv(connection->fd, bytes, sizeof bytes, 0);
    if (size <= 0) {
        if (size < 0 && errno == EAGAIN)
            return 1;
        printf("%s\n", size == 0 ? "end" : strerror(errno));
        close(connection->fd);
        connection->fd = -1;
        return 1;
    }
    if (size == 5 && memcmp(bytes, "quit\n", 5) == 0)
        return 0;
    for (ssize_t i = 0; i < size; i++)
        bytes[i] = toupper((unsigned char)bytes[i]);
    for (ssize_t sent = 0; sent < size;) {
        ssize_t n = send(connection->fd, bytes + sent, size - sent, 0);
        if (n < 0 && errno != EAGAIN) {
            perror("send");
            return 0;
        }
        sent += n < 0 ? 0 : n;
    }
    return 1;
}

int main(void) {
    struct pollfd fds[MAX] = {{.fd = LISTENER, .events = POLLIN}};
    for (int i = 1; i < MAX; i++)
        fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    for (;;) {
        // Those that are not there would be errors to some libraries.
        struct pollfd open[MAX];
        int which[MAX], count = 0;
        for (int i = 0; i < MAX; i++)
            if (fds[i].fd >= 0) {
                open[count] = fds[i];
                which[count++] = i;
            }
        if (poll(open, count, -1) < 0) {
            perror("poll");
            return 1;
        }
        for (int i = 0; i < count; i++) {
            if (open[i].revents == 0)
                continue;
            if (which[i] > 0) {
                if (!serve(&fds[which[i]]))
                    return 0;
                continue;
            }
            int connection = accept(LISTENER, NULL, NULL);
            if (connection < 0) {
                perror("accept");
                return 1;
            }
            fcntl(connection, F_SETFL, O_NONBLOCK);
            for (int free = 1; free < MAX && connection >= 0; free++)
                if (fds[free].fd < 0) {
                    fds[free].fd = connection;
                    connection = -1;
                }
            if (connection >= 0)
                close(connection);
        }
    }
}
