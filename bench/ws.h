/* A WebSocket client as small as load.c needs it: whole unmasked frames in, masked frames out. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CONTENT (1 << 15)
enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

typedef struct {
    int fd, id, room;
    int sends, joined; /* what load.c knows about it */
    uint64_t next;     /* when a paced sender sends again */
    char *rest;        /* the beginning of a frame whose end has not arrived */
    size_t kept;
} Client;

static void read_frame(Client *c, int opcode, char *payload, size_t size); /* load.c */

static void die(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vfprintf(stderr, format, values);
    fprintf(stderr, "\n");
    exit(1);
}

static void ws_send(Client *c, int opcode, const char *payload, size_t size) {
    static const unsigned char key[4] = {0x9d, 0x31, 0x5a, 0xc7};
    static unsigned char out[MAX_CONTENT + 512];
    size_t head = size < 126 ? 2 : 4;
    out[0] = 0x80 | opcode;
    out[1] = 0x80 | (size < 126 ? size : 126);
    if (head == 4) out[2] = size >> 8, out[3] = size & 255;
    memcpy(out + head, key, 4);
    for (size_t i = 0; i < size; i++) out[head + 4 + i] = payload[i] ^ key[i & 3];
    if (send(c->fd, out, head + 4 + size, MSG_NOSIGNAL) != (ssize_t)(head + 4 + size))
        die("client %d cannot send: %s", c->id, strerror(errno));
}

/* Connect and shake hands; `window` limits what the kernel receives for us, 0 leaves it alone. */
static void ws_connect(Client *c, int port, const char *path, int window) {
    char text[4096], *end = NULL;
    int on = 1, size = 0;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (window) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) die("connect: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    dprintf(c->fd,
            "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path, port);
    while (!end) {
        ssize_t got = recv(c->fd, text + size, sizeof text - 1 - size, 0);
        if (got <= 0) die("handshake: no answer");
        text[size += got] = 0;
        end = strstr(text, "\r\n\r\n");
    }
    if (strncmp(text, "HTTP/1.1 101", 12)) die("handshake: %.80s", text);
    c->kept = text + size - (end + 4);
    c->rest = memcpy(malloc(c->kept + 1), end + 4, c->kept);
}

/* Read once; every complete frame goes to read_frame. */
static void ws_read(Client *c) {
    static char input[1 << 20];
    memcpy(input, c->rest, c->kept);
    ssize_t got = recv(c->fd, input + c->kept, sizeof input - c->kept, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) die("client %d lost its connection", c->id);
    char *at = input, *end = input + c->kept + got;
    while (end - at >= 2) {
        size_t size = at[1] & 127, head = size < 126 ? 2 : size == 126 ? 4 : 10;
        if (end - at < (ssize_t)head) break;
        if (head > 2) size = 0;
        for (size_t i = 2; i < head; i++) size = size << 8 | (unsigned char)at[i];
        if (end - at < (ssize_t)(head + size)) break;
        read_frame(c, at[0] & 15, at + head, size);
        at += head + size;
    }
    c->kept = end - at;
    if (c->kept) c->rest = memcpy(realloc(c->rest, c->kept), at, c->kept);
}
