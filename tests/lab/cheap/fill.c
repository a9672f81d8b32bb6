// fill SET KEY OFFSET VALUE COUNT SECONDS: puts COUNT elements into a set or map of table inet ftpdirector, as quickly as the kernel
// takes them. KEY and VALUE are hexadecimal, as the kernel has them (VALUE `-`: a set); the 32 bits of KEY at byte OFFSET count up
// from element to element. Each stands for so many SECONDS.
//
// The same as `nft add element`, which takes gigabytes and minutes for a million. Says on one line, as JSON: how many were `added`,
// in how many `seconds`, and `refused`: why no more could be (null if all are there).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// An attribute holds 65535 bytes, an element takes at most 104.
enum { MOST = 5000, OF_ONE_MESSAGE = 500, KEY = 40, ROOM = 1 << 20, PATIENCE = 60 };

static unsigned char batch[ROOM], key[KEY], value[KEY];
static size_t used, key_length, value_length;
static uint32_t sequence;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t message(uint16_t kind, uint16_t flags, uint8_t family, uint16_t resource) {
    size_t at = used;
    struct nlmsghdr *header = (struct nlmsghdr *)(batch + at);
    *header = (struct nlmsghdr){.nlmsg_type = kind, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++sequence};
    *(struct nfgenmsg *)NLMSG_DATA(header) = (struct nfgenmsg){.nfgen_family = family, .res_id = htons(resource)};
    used += NLMSG_LENGTH(sizeof(struct nfgenmsg));
    return at;
}

static void end_message(size_t at) {
    ((struct nlmsghdr *)(batch + at))->nlmsg_len = (uint32_t)(used - at);
}

static size_t nest(uint16_t kind) {
    size_t at = used;
    ((struct nlattr *)(batch + at))->nla_type = NLA_F_NESTED | kind;
    used += NLA_HDRLEN;
    return at;
}

static void end_nest(size_t at) {
    ((struct nlattr *)(batch + at))->nla_len = (uint16_t)(used - at);
}

static void attribute(uint16_t kind, const void *bytes, size_t length) {
    struct nlattr *attribute = (struct nlattr *)(batch + used);
    *attribute = (struct nlattr){.nla_len = (uint16_t)(NLA_HDRLEN + length), .nla_type = kind};
    memset(attribute + 1, 0, NLA_ALIGN(length));
    memcpy(attribute + 1, bytes, length);
    used += NLA_HDRLEN + NLA_ALIGN(length);
}

static void data(uint16_t kind, const void *bytes, size_t length) {
    size_t at = nest(kind);
    attribute(NFTA_DATA_VALUE, bytes, length);
    end_nest(at);
}

static void element(size_t offset, uint32_t number, uint64_t timeout) {
    unsigned char own[KEY];
    uint32_t counted;
    memcpy(own, key, key_length);
    memcpy(&counted, key + offset, sizeof counted);
    counted = htonl(ntohl(counted) + number);
    memcpy(own + offset, &counted, sizeof counted);
    size_t at = nest(NFTA_LIST_ELEM);
    data(NFTA_SET_ELEM_KEY, own, key_length);
    if (value_length) data(NFTA_SET_ELEM_DATA, value, value_length);
    attribute(NFTA_SET_ELEM_TIMEOUT, &timeout, sizeof timeout);
    end_nest(at);
}

// One transaction.
static void fill_batch(const char *set, size_t offset, uint32_t first, uint32_t count, uint64_t timeout) {
    used = 0;
    end_message(message(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
    for (uint32_t done = 0; done < count;) {
        size_t at = message(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_ACK, NFPROTO_INET, 0);
        attribute(NFTA_SET_ELEM_LIST_TABLE, "ftpdirector", sizeof "ftpdirector");
        attribute(NFTA_SET_ELEM_LIST_SET, set, strlen(set) + 1);
        size_t list = nest(NFTA_SET_ELEM_LIST_ELEMENTS);
        for (int i = 0; i < OF_ONE_MESSAGE && done < count; i++) element(offset, first + done++, timeout);
        end_nest(list);
        end_message(at);
    }
    end_message(message(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
}

// Sends it, and returns the first error that the kernel tells of, or 0.
static int commit(int fd, uint32_t count) {
    static unsigned char answer[1 << 16];
    if (send(fd, batch, used, 0) < 0) return errno;
    int error = 0;
    for (uint32_t left = (count + OF_ONE_MESSAGE - 1) / OF_ONE_MESSAGE; left;) {
        ssize_t got = recv(fd, answer, sizeof answer, 0);
        if (got < 0) return errno;
        for (struct nlmsghdr *one = (struct nlmsghdr *)answer; NLMSG_OK(one, (size_t)got); one = NLMSG_NEXT(one, got)) {
            if (one->nlmsg_type != NLMSG_ERROR) continue;
            int said = -((struct nlmsgerr *)NLMSG_DATA(one))->error;
            // A batch that is refused as a whole has no other answers.
            if (said && !error) error = said;
            if (left) left--;
        }
        if (error) break;
    }
    // What was said of the rest of a batch that failed.
    while (recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 0) continue;
    return error;
}

static size_t bytes_of(const char *text, unsigned char *bytes) {
    size_t length = 0;
    for (unsigned byte; length < KEY && sscanf(text + 2 * length, "%2x", &byte) == 1; length++) bytes[length] = (unsigned char)byte;
    return length;
}

int main(int count, char **words) {
    if (count != 7) {
        fputs("fill SET KEY OFFSET VALUE COUNT SECONDS\n", stderr);
        return 64;
    }
    key_length = bytes_of(words[2], key);
    value_length = words[4][0] == '-' ? 0 : bytes_of(words[4], value);
    size_t offset = (size_t)atoi(words[3]);
    uint32_t wanted = (uint32_t)atol(words[5]), added = 0, step = MOST;
    uint64_t timeout = htobe64((uint64_t)atol(words[6]) * 1000);
    if (offset + 4 > key_length) return 64;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), room = 4 << 20;
    struct timeval patience = {.tv_sec = PATIENCE};
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    double began = now();
    int error = 0;
    while (added < wanted && step) {
        uint32_t some = wanted - added < step ? wanted - added : step;
        fill_batch(words[1], offset, added, some, timeout);
        error = commit(fd, some);
        if (!error) added += some;
        // Full: as many of these as still fit. Another program has committed meanwhile: once more.
        else if (error == ENFILE || error == ENOSPC) step = some / 2;
        else if (error != EAGAIN && error != ERESTART) break;
    }
    printf("{\"added\": %u, \"seconds\": %.3f, \"refused\": ", added, now() - began);
    if (added == wanted) puts("null}");
    else printf("\"%s\"}\n", strerrorname_np(error));
    return 0;
}
