/* A WebSocket load client for the chat relay: one thread, epoll, so that the server is the limit.
 *
 *   load -m MODE -p PORT -u PATH -n CLIENTS [-s SENDERS] [-R ROOMS] [-k STUCK] [-r RATE]
 *        [-b BYTES] [-d SECONDS] [-P PID] [-q PORT -Q PID]
 *
 * MODE chat: the clients join ROOMS rooms of one size; SENDERS of them, spread evenly, send their
 *      next message when their last one came back, or RATE messages a second when given. STUCK
 *      more clients join the first room and never read.
 * MODE echo: every client sends a ping of the dialect, and the next one when the pong is there.
 * MODE idle: every client joins a room of its own and stays until our standard input ends.
 *
 * With -q and -Q every other client goes to a second process, of every room; both count.
 *
 * Prints one line of JSON. Latency is the sender's own round trip; cpu_us is what the processes
 * spent (user and system) per delivery; cpu_share and client_busy are the shares of a core that
 * they and we used. Where cpu_share is far below 1, the machine was busy with others. */
#include "ws.h"
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#define MS 1000000ull
#define WARM_UP (1000 * MS)
#define QUIET (300 * MS)   /* it starts when all have joined and nothing came for so long */
#define SETUP (60000 * MS) /* all must have joined by then */
#define DRAIN (1 * MS)     /* those who only listen are read so often, at one wake-up */
#define MAX_SAMPLES (1 << 22)
#define WINDOW 4096 /* of clients that never read */

static int ports[2], pids[2]; /* the second ones are 0 when there is one process */
static int clients, senders = 1, rooms = 1, stuck, rate, bytes = 32, seconds = 4;
static int talkers, listeners; /* epoll descriptors: who sends, who only listens */
static int joined, live, measuring;
static const char *mode = "chat", *path = "/ws", *expected = "\"chat-message\"";
static char padding[MAX_CONTENT];
static uint64_t deliveries, messages, *samples;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 * MS + t.tv_nsec;
}

/* What a client sends carries its id and the time, by which it knows its own. */
static void send_message(Client *c) {
    static char text[MAX_CONTENT + 256];
    const char *chat =
        "{\"type\":\"chat-message\",\"roomId\":\"bench %d\",\"content\":\"#%d@%llu;%.*s\"}";
    const char *echo = "{\"type\":\"ping\",\"sentAt\":\"#%d@%llu;%.*s\"}";
    unsigned long long sent = now();
    int size = *mode == 'e' ? snprintf(text, sizeof text, echo, c->id, sent, bytes, padding)
                            : snprintf(text, sizeof text, chat, c->room, c->id, sent, bytes, padding);
    ws_send(c, TEXT, text, size);
}

static void join(Client *c) {
    char text[128];
    const char *frame = "{\"type\":\"join-room\",\"roomId\":\"bench %d\"}";
    ws_send(c, TEXT, text, snprintf(text, sizeof text, frame, c->room));
}

static void add_client(Client *c, int id) {
    c->id = id;
    c->sends = (uint64_t)id * senders / clients != (uint64_t)(id + 1) * senders / clients;
    c->room = (uint64_t)id * rooms / clients;
    ws_connect(c, ports[ports[1] && id % 2], path, 0);
    join(c);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(c->sends ? talkers : listeners, EPOLL_CTL_ADD, c->fd, &event);
}

static void read_frame(Client *c, int opcode, char *payload, size_t size) {
    if (opcode == PING) ws_send(c, PONG, payload, size);
    if (opcode == CLOSE) die("client %d was closed", c->id);
    if (opcode != TEXT) return;
    size_t start = size < 64 ? size : 64;
    if (memmem(payload, start, "\"error\"", 7)) die("%.*s", (int)size, payload);
    if (!c->joined && memmem(payload, start, "user-joined", 11)) c->joined = 1, joined++;
    if (!live || !memmem(payload, start, expected, strlen(expected))) return;
    deliveries++;
    if (!c->sends) return;
    char mark[24], *found = memmem(payload, size, mark, sprintf(mark, "#%d@", c->id));
    if (!found) return;
    if (measuring && messages < MAX_SAMPLES)
        samples[messages] = now() - strtoull(strchr(found, '@') + 1, NULL, 10);
    messages++;
    if (!rate) send_message(c);
}

static int read_ready(int group, int timeout_ms) {
    struct epoll_event events[1024];
    int ready = epoll_wait(group, events, 1024, timeout_ms);
    for (int i = 0; i < ready; i++) ws_read(events[i].data.ptr);
    return ready;
}

static double cpu_of(int pid) {
    char name[64], line[1024];
    unsigned long user = 0, system = 0;
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    FILE *file = fopen(name, "r");
    if (!file || !fgets(line, sizeof line, file)) die("process %d is gone", pid);
    sscanf(strrchr(line, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
           &system);
    fclose(file);
    return (double)(user + system) / sysconf(_SC_CLK_TCK);
}

static double server_cpu(void) { return cpu_of(pids[0]) + (pids[1] ? cpu_of(pids[1]) : 0); }

static double own_cpu(void) { return (double)clock() / CLOCKS_PER_SEC; }

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void print_result(double cpu, double own, double time) {
    uint64_t count = messages < MAX_SAMPLES ? messages : MAX_SAMPLES;
    if (!count) die("no message came back");
    qsort(samples, count, sizeof *samples, compare);
    printf("{\"deliveries_s\": %.0f, \"messages_s\": %.0f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"cpu_us\": %.3f, \"cpu_share\": %.2f, \"client_busy\": %.2f}\n",
           deliveries / time, messages / time, samples[count / 2] / 1e6,
           samples[count * 99 / 100] / 1e6, cpu / deliveries * 1e6, cpu / time, own / time);
}

static void read_options(int argc, char **argv) {
    int *numbers[128] = {['p'] = ports,   ['q'] = ports + 1, ['P'] = pids,   ['Q'] = pids + 1,
                         ['n'] = &clients, ['s'] = &senders,  ['R'] = &rooms, ['k'] = &stuck,
                         ['r'] = &rate,   ['b'] = &bytes,     ['d'] = &seconds};
    for (int o; (o = getopt(argc, argv, "m:u:p:q:P:Q:n:s:R:k:r:b:d:")) != -1;) {
        if (o == 'm') mode = optarg;
        else if (o == 'u') path = optarg;
        else if (o != '?') *numbers[o] = atoi(optarg);
        else exit(2);
    }
    if (clients < 1 || bytes < 0 || bytes >= MAX_CONTENT) die("see the head of load.c");
    if (*mode == 'e') senders = clients, expected = "\"pong\"";
    if (*mode == 'i') rooms = clients;
    memset(padding, 'x', sizeof padding - 1);
}

static void allow_many_files(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    allow_many_files();
    samples = malloc(MAX_SAMPLES * sizeof *samples);
    talkers = epoll_create1(0), listeners = epoll_create1(0);
    Client *all = calloc(clients + stuck, sizeof *all), *end = all + clients;
    for (int i = 0; i < stuck; i++) ws_connect(end + i, ports[0], path, WINDOW), join(end + i);
    for (int i = 0; i < clients; i++) {
        add_client(all + i, i);
        read_ready(talkers, 0), read_ready(listeners, 0); /* pings, for one */
    }
    uint64_t begun = now(), heard = begun, measured = 0, drained = 0;
    double cpu = 0, own = 0;
    for (;;) {
        int ready = read_ready(talkers, 1);
        uint64_t time = now();
        if (time > drained + DRAIN) drained = time, ready += read_ready(listeners, 0);
        if (ready) heard = time;
        if (!live) {
            if (time > begun + SETUP) die("only %d of %d could join", joined, clients);
            if (joined < clients || time < heard + QUIET) continue;
            if (*mode == 'i') return printf("{}\n"), fflush(stdout), getchar() != EOF;
            live = 1, begun = time;
            for (Client *c = all; c < end; c++) if (c->sends && !rate) send_message(c);
        } else if (!measuring && time > begun + WARM_UP) {
            measuring = 1, measured = time, deliveries = messages = 0;
            cpu = server_cpu(), own = own_cpu();
        } else if (measuring && time > measured + seconds * 1000 * MS) {
            return print_result(server_cpu() - cpu, own_cpu() - own, (time - measured) / 1e9), 0;
        }
        for (Client *c = all; live && rate && c < end; c++)
            if (c->sends && time >= c->next) c->next = time + 1000 * MS / rate, send_message(c);
    }
}
