/* A web server that answers every request with the name of its host. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile sig_atomic_t is_ending = 0;

static void end(int signal_number) {
    (void)signal_number;
    is_ending = 1;
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = INADDR_ANY};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 128) < 0) {
        perror("listen");
        exit(1);
    }
    return listener;
}

static void answer(int connection) {
    char request[8192] = {0}, host[256] = {0}, body[512], response[1024];
    struct timeval patience = {.tv_sec = 5};
    size_t received = 0;
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while (received < sizeof request - 1 && !strstr(request, "\r\n\r\n")) {
        ssize_t count = read(connection, request + received, sizeof request - 1 - received);
        if (count <= 0) return;
        received += count;
    }
    gethostname(host, sizeof host - 1);
    snprintf(body, sizeof body, "Hello from %s\n", host);
    int length = snprintf(response, sizeof response,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", strlen(body), body);
    for (int sent = 0; sent < length;) {
        ssize_t count = write(connection, response + sent, length - sent);
        if (count <= 0) return;
        sent += count;
    }
}

int main(void) {
    const char *port = getenv("PORT");
    struct sigaction on_end = {.sa_handler = end}, ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGTERM, &on_end, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    int listener = listen_on(port ? atoi(port) : 8080);
    printf("listening on %s\n", port ? port : "8080");
    fflush(stdout);
    while (!is_ending) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) {
            if (errno == EINTR) continue;
            perror("accept");
            return 1;
        }
        answer(connection);
        close(connection);
    }
    puts("ending");
    return 0;
}
