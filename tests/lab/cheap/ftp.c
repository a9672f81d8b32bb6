// ftp HOST PORT SESSIONS SECONDS MODE KIB SOURCE,…: FTP clients that cost as little as they can: SESSIONS at once, each of one of
// these source addresses, for so many seconds. MODE is PASV, EPSV or PORT (each time with RETR of so many KiB), NOOP, or LOGIN
// (connect, log in, QUIT, again).
//
// Says on one line, as JSON: `right` transfers (or commands, or log-ins), `wrong` ones (the file is of another server than the
// greeting), `failed`, `late` (no end within 15 s), `seconds`, `bytes`, and the times `median`, `p99` and `max` in milliseconds.
//
// MODE HOLD logs in with one session after the other, at most AT_ONCE at a time, then only keeps them. After KIB seconds no more
// begin. Each second it says `held N`, then `ready N` (how many there are in the end). On SIGUSR1 each of them says NOOP once, at
// most AT_ONCE at a time; each second it says `answering N`, and `answered N` when all have been.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 512, NAME = 16, SOURCES = 1024, PATIENCE = 15, AT_ONCE = 128 };
enum kind { CONTROL = 1, LISTENER, DATA };
enum step { GREETING, LOGIN, NAMED, OPENED, SENT, GOODBYE, READY, ASKED };
enum mode { PASV, EPSV, PORT, NOOP, LOGINS, HOLD, MODES };
static const char *const modes[MODES] = {"PASV", "EPSV", "PORT", "NOOP", "LOGIN", "HOLD"};

struct session {
    int control, listener, data;
    // Counts its lives: what epoll still says of an earlier one is not of this one.
    uint32_t life;
    enum step step;
    char line[LINE];
    size_t length, begun;
    char server[NAME], beginning[NAME];
    int told;
    double since;
};

static struct session *sessions;
static uint32_t session_count;
static struct sockaddr_in to, sources[SOURCES];
static uint32_t source_count;
static enum mode mode;
static int kib, events;
// HOLD: sessions that ever began, of them those that are held now; those that were asked to say NOOP, and those that are done with it.
static uint32_t begun, ready, asked, answered;
static volatile sig_atomic_t signalled;
static long right, wrong, failed, late, bytes;
static float *times;
static size_t times_room;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void watch(struct session *s, int fd, enum kind kind) {
    uint64_t index = (uint64_t)(s - sessions), life = s->life & 0xfff;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = life << 32 | index << 2 | kind};
    epoll_ctl(events, EPOLL_CTL_ADD, fd, &event);
}

static void close_one(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void end(struct session *s) {
    close_one(&s->control);
    close_one(&s->listener);
    close_one(&s->data);
    s->life++;
}

static int from_source(const struct session *s) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    // The port is chosen when it is known where to: a source has then more connections than ports.
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    const struct sockaddr_in *source = &sources[(size_t)(s - sessions) % source_count];
    if (fd >= 0 && bind(fd, (const struct sockaddr *)source, sizeof *source)) close_one(&fd);
    return fd;
}

static int connect_to(const struct session *s, const struct sockaddr_in *there) {
    int fd = from_source(s);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)there, sizeof *there) && errno != EINPROGRESS) close_one(&fd);
    return fd;
}

static void begin(struct session *s) {
    s->control = connect_to(s, &to);
    s->listener = s->data = -1;
    s->length = 0;
    s->step = GREETING;
    s->since = now();
    if (s->control >= 0) watch(s, s->control, CONTROL);
    else failed++;
}

static void again(struct session *s) {
    end(s);
    begin(s);
}

static void fail(struct session *s) {
    failed++;
    if (s->step == ASKED) answered++;
    if (s->step == READY || s->step == ASKED) ready--;
    again(s);
}

static void say(struct session *s, const char *text) {
    ssize_t sent = send(s->control, text, strlen(text), MSG_NOSIGNAL);
    // Where it failed the end is read soon.
    (void)sent;
}

static void succeeded(const struct session *s) {
    size_t number = (size_t)right++;
    if (number < times_room) times[number] = (float)((now() - s->since) * 1e3);
}

static void call_me(struct session *s) {
    s->listener = from_source(s);
    if (s->listener < 0 || listen(s->listener, 1)) {
        fail(s);
        return;
    }
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    getsockname(s->listener, (struct sockaddr *)&own, &size);
    uint32_t a = ntohl(own.sin_addr.s_addr);
    unsigned p = ntohs(own.sin_port);
    char text[96];
    snprintf(text, sizeof text, "PORT %u,%u,%u,%u,%u,%u\r\n", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255, p >> 8, p & 255);
    watch(s, s->listener, LISTENER);
    say(s, text);
}

static void next(struct session *s) {
    s->begun = 0;
    s->told = 0;
    s->since = now();
    s->step = mode == NOOP ? SENT : mode == HOLD ? READY : NAMED;
    if (mode == NOOP) say(s, "NOOP\r\n");
    else if (mode == PORT) call_me(s);
    else if (mode == HOLD) ready++;
    else say(s, mode == PASV ? "PASV\r\n" : "EPSV\r\n");
}

static void retr(struct session *s) {
    char text[32];
    snprintf(text, sizeof text, "RETR %d\r\n", kib);
    s->step = OPENED;
    say(s, text);
}

// The end that a 227 or 229 names; port 0 if it names none.
static struct sockaddr_in named(const char *line) {
    struct sockaddr_in there = to;
    unsigned n[6], port = 0;
    const char *where = strchr(line, '(');
    there.sin_port = 0;
    if (!where) return there;
    if (!strncmp(line, "229", 3) && sscanf(where, "(|||%u|)", &port) == 1) there.sin_port = htons((uint16_t)port);
    if (!strncmp(line, "227", 3) && sscanf(where, "(%u,%u,%u,%u,%u,%u", n, n + 1, n + 2, n + 3, n + 4, n + 5) == 6) {
        there.sin_port = htons((uint16_t)(n[4] << 8 | n[5]));
        there.sin_addr.s_addr = htonl(n[0] << 24 | n[1] << 16 | n[2] << 8 | n[3]);
    }
    return there;
}

static void connect_data(struct session *s, const char *line) {
    struct sockaddr_in there = named(line);
    if (there.sin_port) s->data = connect_to(s, &there);
    if (s->data < 0) {
        fail(s);
        return;
    }
    watch(s, s->data, DATA);
    retr(s);
}

// Both the file and the reply behind it have come.
static void transferred(struct session *s) {
    if (s->data >= 0 || s->listener >= 0 || !s->told) return;
    if (strncmp(s->beginning, s->server, strlen(s->server))) wrong++;
    else succeeded(s);
    next(s);
}

static void reply(struct session *s, const char *line) {
    int code = atoi(line);
    if (s->step == GREETING && code == 220) {
        sscanf(line, "220 %15s", s->server);
        say(s, "USER x\r\n");
        s->step = LOGIN;
    } else if (s->step == LOGIN && code == 230 && mode == LOGINS) {
        say(s, "QUIT\r\n");
        s->step = GOODBYE;
    } else if (s->step == LOGIN && code == 230) {
        next(s);
    } else if (s->step == NAMED && code == 200) {
        retr(s);
    } else if (s->step == NAMED && (code == 227 || code == 229)) {
        connect_data(s, line);
    } else if (s->step == OPENED && code == 150) {
        s->step = SENT;
    } else if (s->step == SENT && mode == NOOP && code == 200) {
        succeeded(s);
        next(s);
    } else if (s->step == ASKED && code == 200) {
        s->step = READY;
        answered++;
    } else if (s->step == SENT && code == 226) {
        s->told = 1;
        transferred(s);
    } else if (s->step == GOODBYE && code == 221) {
        succeeded(s);
        again(s);
    } else fail(s);
}

static void read_lines(struct session *s) {
    ssize_t got = recv(s->control, s->line + s->length, LINE - s->length - 1, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) fail(s);
        return;
    }
    s->length += (size_t)got;
    s->line[s->length] = 0;
    uint32_t life = s->life;
    char *line = s->line, *stop;
    while ((stop = strchr(line, '\n'))) {
        *stop = 0;
        reply(s, line);
        if (s->life != life) return;
        line = stop + 1;
    }
    s->length -= (size_t)(line - s->line);
    memmove(s->line, line, s->length);
    if (s->length == LINE - 1) fail(s);
}

static void accept_data(struct session *s) {
    int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    close_one(&s->listener);
    s->data = fd;
    watch(s, fd, DATA);
}

static void read_data(struct session *s) {
    static char buffer[1 << 18];
    ssize_t got;
    while ((got = recv(s->data, buffer, sizeof buffer, 0)) > 0) {
        size_t part = NAME - s->begun < (size_t)got ? NAME - s->begun : (size_t)got;
        memcpy(s->beginning + s->begun, buffer, part);
        s->begun += part;
        bytes += got;
    }
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) {
        fail(s);
        return;
    }
    close_one(&s->data);
    transferred(s);
}

static void happened(const struct epoll_event *event) {
    struct session *s = &sessions[(uint32_t)event->data.u64 >> 2];
    if ((s->life & 0xfff) != event->data.u64 >> 32) return;
    switch ((enum kind)(event->data.u64 & 3)) {
    case CONTROL: read_lines(s); return;
    case LISTENER:
        if (s->listener >= 0) accept_data(s);
        return;
    case DATA:
        if (s->data >= 0) read_data(s);
        return;
    }
}

static void look_for_late_ones(void) {
    double time = now();
    for (struct session *s = sessions; s < sessions + begun; s++) {
        if (s->control >= 0 && (s->step == READY || time - s->since <= PATIENCE)) continue;
        late += s->control >= 0;
        if (s->step == ASKED) {
            answered++;
            ready--;
        }
        again(s);
    }
}

static void begin_more(int more) {
    while (more && begun < session_count && (mode != HOLD || begun - ready < AT_ONCE)) begin(&sessions[begun++]);
}

static void hear(int number) {
    (void)number;
    signalled = 1;
}

// Has the sessions say NOOP, those that are held.
static void ask_more(void) {
    while (asked < begun && asked - answered < AT_ONCE) {
        struct session *s = &sessions[asked++];
        if (s->step != READY) {
            answered++;
            continue;
        }
        s->step = ASKED;
        s->since = now();
        say(s, "NOOP\r\n");
    }
}

// What HOLD has to say, and to do. `left`: more sessions may begin.
static void hold(int left) {
    static int all_here, asking;
    static double said;
    if (!all_here) {
        begin_more(left);
        int here = ready == begun && (begun == session_count || !left);
        if (here || now() - said > 1) {
            printf("%s %u\n", here ? "ready" : "held", ready);
            fflush(stdout);
            said = now();
        }
        all_here = here;
    }
    if (signalled) {
        signalled = 0;
        asked = answered = 0;
        asking = 1;
    }
    if (!asking) return;
    ask_more();
    int done = asked == begun && answered == asked;
    if (!done && now() - said <= 1) return;
    printf("%s %u\n", done ? "answered" : "answering", answered);
    fflush(stdout);
    said = now();
    asking = !done;
}

static int compare(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return a < b ? -1 : a > b;
}

static int understood(char **words) {
    to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[2]))};
    to.sin_addr.s_addr = inet_addr(words[1]);
    session_count = (uint32_t)atoi(words[3]);
    kib = atoi(words[6]);
    while (mode < MODES && strcmp(words[5], modes[mode])) mode++;
    for (char *word = strtok(words[7], ","); word && source_count < SOURCES; word = strtok(NULL, ",")) {
        sources[source_count].sin_family = AF_INET;
        sources[source_count++].sin_addr.s_addr = inet_addr(word);
    }
    return mode < MODES && session_count && source_count;
}

int main(int count, char **words) {
    if (count != 8 || !understood(words)) {
        fputs("ftp HOST PORT SESSIONS SECONDS PASV|EPSV|PORT|NOOP|LOGIN|HOLD KIB SOURCE,...\n", stderr);
        return 64;
    }
    struct rlimit files = {1000000, 1000000};
    setrlimit(RLIMIT_NOFILE, &files);
    times_room = 4000000;
    times = malloc(times_room * sizeof *times);
    sessions = calloc(session_count, sizeof *sessions);
    events = epoll_create1(0);
    double first = now(), last = first + atof(words[4]), looked = first;
    struct sigaction told = {.sa_handler = hear};
    sigaction(SIGUSR1, &told, NULL);
    if (mode != HOLD) begin_more(1);
    while (now() < last) {
        if (mode == HOLD) hold(now() - first < kib);
        struct epoll_event happening[256];
        int number = epoll_wait(events, happening, 256, 100);
        for (int i = 0; i < number; i++) happened(&happening[i]);
        if (now() - looked > 1) {
            look_for_late_ones();
            looked = now();
        }
    }
    size_t timed = (size_t)right < times_room ? (size_t)right : times_room;
    qsort(times, timed, sizeof *times, compare);
    double median = timed ? times[timed / 2] : 0, p99 = timed ? times[timed * 99 / 100] : 0, max = timed ? times[timed - 1] : 0;
    printf("{\"right\": %ld, \"wrong\": %ld, \"failed\": %ld, \"late\": %ld, ", right, wrong, failed, late);
    printf("\"seconds\": %.3f, \"bytes\": %ld, ", now() - first, bytes);
    printf("\"median\": %.2f, \"p99\": %.2f, \"max\": %.2f}\n", median, p99, max);
    return 0;
}
