/*
 * The Linux peer's side of the TCP stream benchmark: echo (port 7), discard (port 9) and chargen
 * (port 19), one process a connection.
 * As plain as such a program can be, with buffers large enough that system calls do not matter.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[256 * 1024];

static int listener(int port)
{
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 128) != 0)
        exit(1);
    return fd;
}

int main(void)
{
    struct pollfd listeners[3] = {{listener(9), POLLIN, 0}, {listener(19), POLLIN, 0}, {listener(7), POLLIN, 0}};
    memset(buffer, 'q', sizeof buffer);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        poll(listeners, 3, -1);
        for (int i = 0; i < 3; i++) {
            if (!(listeners[i].revents & POLLIN))
                continue;
            int connection = accept(listeners[i].fd, NULL, NULL);
            if (fork() == 0) {
                ssize_t count;
                if (i == 2) {
                    int one = 1;
                    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    while ((count = read(connection, buffer, sizeof buffer)) > 0 && write(connection, buffer, count) == count)
                        ;
                } else if (i == 0)
                    while (read(connection, buffer, sizeof buffer) > 0)
                        ;
                else
                    while (write(connection, buffer, sizeof buffer) > 0)
                        ;
                exit(0);
            }
            close(connection);
        }
    }
}
