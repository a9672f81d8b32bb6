// ftpd NAME PORT LOW HIGH ADVERTISE ACTIVE-PORT: an FTP server that costs as little as one can, so that what stands between it
// and its clients can be measured: one thread, no disk, anyone may log in.
//
// Its greeting ends with NAME, and every file begins with it. RETR N sends N KiB. Passive ports are LOW to HIGH, in turn; a 227
// names ADVERTISE, or with `-` the address that the client reached; active connections leave from ACTIVE-PORT.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SESSIONS = 200000, LINE = 256 };
enum kind { LISTENER, CONTROL, PASSIVE, DATA };

struct session {
    int control, passive, data;
    // Counts its users: what epoll still says of an earlier one is not of this one.
    uint32_t user;
    char line[LINE];
    size_t length;
    struct sockaddr_in to;
    // Bytes of the file: those that RETR asked for before its connection came, and those that have not been sent.
    long wanted, left;
};

static struct session *sessions;
static uint32_t unused[SESSIONS], unused_count;
static char file[65536];
static const char *name, *advertise;
static int low, high, next_port, active_port, events;

static void watch(int fd, uint32_t index, enum kind kind, uint32_t what, int operation) {
    uint64_t user = sessions[index].user & 0xfff;
    struct epoll_event event = {.events = what, .data.u64 = user << 32 | (uint64_t)index << 2 | kind};
    epoll_ctl(events, operation, fd, &event);
}

static void close_one(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void say(struct session *s, const char *text) {
    ssize_t sent = send(s->control, text, strlen(text), MSG_NOSIGNAL);
    // A client that does not read gets no more; its end is seen at its control connection.
    (void)sent;
}

static void end(struct session *s) {
    close_one(&s->control);
    close_one(&s->passive);
    close_one(&s->data);
    s->user++;
    unused[unused_count++] = (uint32_t)(s - sessions);
}

static void lost_data(struct session *s) {
    close_one(&s->data);
    s->left = s->wanted = 0;
    say(s, "426 broken\r\n");
}

static void send_file(struct session *s) {
    uint32_t index = (uint32_t)(s - sessions);
    while (s->left > 0) {
        size_t part = s->left < (long)sizeof file ? (size_t)s->left : sizeof file;
        ssize_t sent = send(s->data, file, part, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN || errno == ENOTCONN) {
                watch(s->data, index, DATA, EPOLLOUT, EPOLL_CTL_MOD);
                return;
            }
            lost_data(s);
            return;
        }
        s->left -= sent;
    }
    close_one(&s->data);
    // The next RETR waits for a connection of its own.
    s->wanted = 0;
    say(s, "226 done\r\n");
}

static int socket_at(const struct sockaddr_in *at) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)at, sizeof *at)) close_one(&fd);
    return fd;
}

// The port that it listens on, or 0.
static int passive(struct session *s) {
    close_one(&s->passive);
    close_one(&s->data);
    for (int tries = 0; tries <= high - low; tries++) {
        int port = low + next_port++ % (high - low + 1);
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        s->passive = socket_at(&any);
        if (s->passive < 0) continue;
        if (listen(s->passive, 4) == 0) {
            watch(s->passive, (uint32_t)(s - sessions), PASSIVE, EPOLLIN, EPOLL_CTL_ADD);
            return port;
        }
        close_one(&s->passive);
    }
    return 0;
}

static struct sockaddr_in own_end(int fd) {
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    getsockname(fd, (struct sockaddr *)&own, &size);
    return own;
}

static void answer_pasv(struct session *s) {
    int port = passive(s);
    uint32_t own = ntohl(own_end(s->control).sin_addr.s_addr);
    uint32_t a = advertise[0] == '-' ? own : ntohl(inet_addr(advertise));
    char text[128];
    const char *format = "227 Entering Passive Mode (%u,%u,%u,%u,%d,%d).\r\n";
    snprintf(text, sizeof text, format, a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255, port >> 8, port & 255);
    say(s, port ? text : "425 no port\r\n");
}

static void answer_epsv(struct session *s) {
    int port = passive(s);
    char text[128];
    snprintf(text, sizeof text, "229 Entering Extended Passive Mode (|||%d|)\r\n", port);
    say(s, port ? text : "425 no port\r\n");
}

static void answer_port(struct session *s, const char *argument) {
    unsigned n[6];
    if (sscanf(argument, "%u,%u,%u,%u,%u,%u", n, n + 1, n + 2, n + 3, n + 4, n + 5) != 6) {
        say(s, "501 what?\r\n");
        return;
    }
    close_one(&s->passive);
    close_one(&s->data);
    s->to.sin_family = AF_INET;
    s->to.sin_port = htons((uint16_t)(n[4] << 8 | n[5]));
    s->to.sin_addr.s_addr = htonl(n[0] << 24 | n[1] << 16 | n[2] << 8 | n[3]);
    say(s, "200 ok\r\n");
}

static void connect_to_client(struct session *s) {
    struct sockaddr_in own = own_end(s->control);
    own.sin_port = htons((uint16_t)active_port);
    s->data = socket_at(&own);
    if (s->data < 0 || (connect(s->data, (struct sockaddr *)&s->to, sizeof s->to) && errno != EINPROGRESS)) {
        close_one(&s->data);
        say(s, "425 cannot connect\r\n");
        return;
    }
    s->to.sin_port = 0;
    s->left = s->wanted;
    watch(s->data, (uint32_t)(s - sessions), DATA, EPOLLOUT, EPOLL_CTL_ADD);
}

static void answer_retr(struct session *s, const char *argument) {
    s->wanted = atol(argument) * 1024;
    say(s, "150 here it comes\r\n");
    if (s->to.sin_port) {
        connect_to_client(s);
    } else if (s->data >= 0) {
        s->left = s->wanted;
        send_file(s);
    }
}

static void answer(struct session *s, const char *line) {
    if (!strncasecmp(line, "USER ", 5)) say(s, "230 ok\r\n");
    else if (!strncasecmp(line, "PASV", 4)) answer_pasv(s);
    else if (!strncasecmp(line, "EPSV", 4)) answer_epsv(s);
    else if (!strncasecmp(line, "PORT ", 5)) answer_port(s, line + 5);
    else if (!strncasecmp(line, "RETR ", 5)) answer_retr(s, line + 5);
    else if (!strncasecmp(line, "NOOP", 4)) say(s, "200 ok\r\n");
    else if (!strncasecmp(line, "QUIT", 4)) {
        say(s, "221 bye\r\n");
        end(s);
    } else say(s, "500 what?\r\n");
}

static void read_lines(struct session *s) {
    ssize_t got = recv(s->control, s->line + s->length, LINE - s->length - 1, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) end(s);
        return;
    }
    s->length += (size_t)got;
    s->line[s->length] = 0;
    uint32_t user = s->user;
    char *line = s->line, *stop;
    while ((stop = strchr(line, '\n'))) {
        *stop = 0;
        answer(s, line);
        if (s->user != user) return;
        line = stop + 1;
    }
    s->length -= (size_t)(line - s->line);
    memmove(s->line, line, s->length);
    if (s->length == LINE - 1) end(s);
}

static void welcome(int listener) {
    int fd, on = 1;
    char text[128];
    snprintf(text, sizeof text, "220 %s\r\n", name);
    while (unused_count && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        uint32_t index = unused[--unused_count], user = sessions[index].user;
        sessions[index] = (struct session){.control = fd, .passive = -1, .data = -1, .user = user};
        watch(fd, index, CONTROL, EPOLLIN, EPOLL_CTL_ADD);
        say(&sessions[index], text);
    }
}

static void accept_data(struct session *s) {
    int fd = accept4(s->passive, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    close_one(&s->passive);
    s->data = fd;
    watch(fd, (uint32_t)(s - sessions), DATA, 0, EPOLL_CTL_ADD);
    s->left = s->wanted;
    if (s->wanted) send_file(s);
}

static void happened(const struct epoll_event *event) {
    struct session *s = &sessions[(uint32_t)event->data.u64 >> 2];
    if ((s->user & 0xfff) != event->data.u64 >> 32) return;
    switch ((enum kind)(event->data.u64 & 3)) {
    case LISTENER: return;
    case CONTROL: read_lines(s); return;
    case PASSIVE:
        if (s->passive >= 0) accept_data(s);
        return;
    case DATA:
        if (s->data < 0) return;
        if (event->events & (EPOLLERR | EPOLLHUP)) lost_data(s);
        else if (s->left) send_file(s);
        return;
    }
}

int main(int count, char **words) {
    if (count != 7) {
        fputs("ftpd NAME PORT LOW HIGH ADVERTISE ACTIVE-PORT\n", stderr);
        return 64;
    }
    name = words[1];
    low = atoi(words[3]);
    high = atoi(words[4]);
    advertise = words[5];
    active_port = atoi(words[6]);
    memset(file, 'x', sizeof file);
    snprintf(file, sizeof file, "%s\n", name);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files = {1000000, 1000000};
    setrlimit(RLIMIT_NOFILE, &files);
    sessions = calloc(SESSIONS, sizeof *sessions);
    for (uint32_t i = SESSIONS; i-- > 0;) unused[unused_count++] = i;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[2]))};
    int listener = socket_at(&at);
    if (listener < 0 || listen(listener, 4096)) {
        perror("ftpd");
        return 1;
    }
    events = epoll_create1(0);
    struct epoll_event wanted = {.events = EPOLLIN, .data.u64 = LISTENER};
    epoll_ctl(events, EPOLL_CTL_ADD, listener, &wanted);
    for (;;) {
        struct epoll_event happening[256];
        int number = epoll_wait(events, happening, 256, -1);
        for (int i = 0; i < number; i++) {
            if (happening[i].data.u64 == LISTENER) welcome(listener);
            else happened(&happening[i]);
        }
    }
}
