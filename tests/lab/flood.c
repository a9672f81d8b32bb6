// flood FILE SECONDS PACE ADVANCE: sends the packets of a file over and over, each as it is (IP header first, in the file behind
// its length in two bytes, network order): PACE a second, or as fast as it can (0), for so many seconds, or once (0). After
// each round their TCP sequence numbers move on by ADVANCE bytes. Says how many it sent, and in how many seconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64 };

struct packet {
    uint8_t *bytes;
    size_t length, tcp;
    struct sockaddr_storage to;
    socklen_t to_length;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void address(struct packet *p) {
    if (p->bytes[0] >> 4 == 4) {
        struct sockaddr_in *to = (struct sockaddr_in *)&p->to;
        to->sin_family = AF_INET;
        memcpy(&to->sin_addr, p->bytes + 16, 4);
        p->to_length = sizeof *to;
        p->tcp = 20;
    } else {
        struct sockaddr_in6 *to = (struct sockaddr_in6 *)&p->to;
        to->sin6_family = AF_INET6;
        memcpy(&to->sin6_addr, p->bytes + 24, 16);
        p->to_length = sizeof *to;
        p->tcp = 40;
    }
}

static uint32_t sum_of(uint32_t number) { return (number >> 16) + (number & 0xffff); }

// The checksum follows (RFC 1624, equation 3): a wrong one stays wrong.
static void advance(struct packet *p, uint32_t by) {
    uint32_t seq;
    uint16_t check;
    memcpy(&seq, p->bytes + p->tcp + 4, 4);
    memcpy(&check, p->bytes + p->tcp + 16, 2);
    uint32_t old = ntohl(seq), next = old + by;
    uint32_t sum = (uint16_t)~ntohs(check) + sum_of(~old) + sum_of(next);
    while (sum >> 16) sum = sum_of(sum);
    seq = htonl(next);
    check = htons((uint16_t)~sum);
    memcpy(p->bytes + p->tcp + 4, &seq, 4);
    memcpy(p->bytes + p->tcp + 16, &check, 2);
}

static struct packet *read_packets(const char *path, size_t *count) {
    FILE *file = fopen(path, "rb");
    if (!file) return perror(path), NULL;
    size_t room = 1024;
    struct packet *all = malloc(room * sizeof *all);
    uint8_t length[2];
    for (*count = 0; fread(length, 2, 1, file) == 1; ++*count) {
        if (*count == room) all = realloc(all, (room *= 2) * sizeof *all);
        struct packet *p = &all[*count];
        memset(p, 0, sizeof *p);
        p->length = (size_t)length[0] << 8 | length[1];
        p->bytes = malloc(p->length);
        if (fread(p->bytes, p->length, 1, file) != 1) return fprintf(stderr, "%s is cut off\n", path), NULL;
        address(p);
    }
    fclose(file);
    return all;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    size_t count = 0;
    struct packet *all = read_packets(argv[1], &count);
    if (!all || !count) return 1;
    double seconds = atof(argv[2]), pace = atof(argv[3]);
    uint32_t by = (uint32_t)atol(argv[4]);
    int raw = socket(all[0].to.ss_family, SOCK_RAW, IPPROTO_RAW);
    if (raw < 0) return perror("socket"), 1;
    // A hundredth of a second's worth at a time, so that a pace is one.
    size_t batch = pace > 0 && pace / 100 < BATCH ? (size_t)(pace / 100) + 1 : BATCH;
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    double begin = now();
    long sent = 0;
    do {
        for (size_t first = 0; first < count; first += batch) {
            size_t many = count - first < batch ? count - first : batch;
            memset(messages, 0, sizeof messages);
            for (size_t n = 0; n < many; n++) {
                struct packet *p = &all[first + n];
                parts[n] = (struct iovec){ p->bytes, p->length };
                messages[n].msg_hdr = (struct msghdr){ .msg_name = &p->to, .msg_namelen = p->to_length, .msg_iov = &parts[n], .msg_iovlen = 1 };
            }
            for (size_t done = 0; done < many;) {
                int n = sendmmsg(raw, messages + done, (unsigned)(many - done), 0);
                if (n < 0) return perror("sendmmsg"), 1;
                done += (size_t)n;
            }
            sent += (long)many;
            double early = pace > 0 ? begin + (double)sent / pace - now() : 0;
            if (early > 0) nanosleep(&(struct timespec){ (time_t)early, (long)((early - (double)(time_t)early) * 1e9) }, NULL);
            if (seconds > 0 && now() - begin >= seconds) break;
        }
        for (size_t n = 0; by && n < count; n++) advance(&all[n], by);
    } while (now() - begin < seconds);
    printf("%ld %.3f\n", sent, now() - begin);
    return 0;
}
