// What programs for Gate are written with in C.
//
// A program reaches the world through services, which it discovers by name and exchanges packets with (docs/guest-abi.md and
// docs/services.md). The functions here wait until they are done; what comes for other streams meanwhile is kept for them. There
// is one call at a time.
//
//     static struct gate gate;            // 128 KiB: not on the stack
//     static struct gate_stream stream;
//
//     int origin = gate_discover(&gate, "origin");
//     if (origin >= 0 && gate_accept(&gate, origin, &stream) == 0) {
//         gate_write(&gate, &stream, "hello\n", 6);
//         gate_close(&gate, &stream);
//     }
//
// No other library is needed. Without one, compile with -mbulk-memory, or bring memcpy and memmove along.

#ifndef GATE_H
#define GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// How much a stream holds for its reader, in bytes. The other side has to wait until it is read.
#ifndef GATE_WINDOW
#define GATE_WINDOW 16384
#endif

#define GATE_MAX_PACKET 65536
#define GATE_HEADER_SIZE 8
// Most bytes in a call, and in a reply.
#define GATE_MAX_CONTENT (GATE_MAX_PACKET - GATE_HEADER_SIZE)
#define GATE_MAX_SERVICES 256

// What functions return instead of what they are called for.
enum {
    GATE_UNAVAILABLE = -1, // There is no such service at the moment.
    GATE_INVALID = -2,     // A name or a content is too long, or there are too many services.
    GATE_REFUSED = -3,     // The reply is not what was to be expected. If it was empty, the service does not know the call.
};

enum gate_domain { GATE_CALL, GATE_INFO, GATE_FLOW, GATE_DATA };

// The beginning of a packet. The next one begins at a multiple of eight bytes.
struct gate_header {
    uint32_t size; // With the header.
    int16_t code;  // Index of the service in the order of discovery, or -1.
    uint8_t domain;
    uint8_t index; // Of a reply: position, in the queue of calls, of that which it answers.
};

struct gate_buffer {
    const void *data;
    size_t size;
};

// Receives and sends bytes of packets, and waits for that for as many nanoseconds, or for ever if that is negative.
__attribute__((import_module("gate"), import_name("io_65536"))) void gate_io(
    const struct gate_buffer *receive, size_t receive_count, size_t *received, const struct gate_buffer *send,
    size_t send_count, size_t *sent, int64_t timeout, uint64_t *flags);

__attribute__((import_module("wasi_snapshot_preview1"), import_name("clock_time_get"))) uint16_t gate_clock_time_get(
    uint32_t id, uint64_t precision, uint64_t *time);

// A stream of bytes in each direction.
struct gate_stream {
    struct gate_stream *next;
    int16_t code;
    int32_t id;
    uint32_t credit;  // How much may be sent.
    uint32_t granted; // How much may still come.
    uint32_t begin;   // Of what the buffer holds.
    uint32_t held;    // How much that is.
    bool ended;       // The other side has sent everything.
    bool unwanted;    // The other side wants nothing more.
    bool finished;    // The program has sent everything.
    int32_t note;     // What came with the end.
    uint8_t buffer[GATE_WINDOW];
};

// What is known about services and streams. One that is all zero is what to begin with.
struct gate {
    size_t begin, end; // Of what the input holds.
    int services;      // How many have been discovered.
    int replied;       // Of how many it is known whether they are there.
    bool available[GATE_MAX_SERVICES];
    struct gate_stream *streams;
    bool started;
    unsigned resumptions; // How often the program was resumed, as far as it had received or waited for something before.
    uint8_t input[2 * GATE_MAX_PACKET];
};

static inline size_t gate_padded(size_t size) {
    return (size + 7) & ~(size_t)7;
}

static inline struct gate_stream *gate_find(struct gate *gate, int code, int32_t id) {
    struct gate_stream *stream = gate->streams;
    while (stream && (stream->code != code || stream->id != id))
        stream = stream->next;
    return stream;
}

// Appends received bytes to a stream.
static inline void gate_hold(struct gate_stream *stream, const uint8_t *data, uint32_t size) {
    // Nobody sends more than was asked for.
    if (size > GATE_WINDOW - stream->held || size > stream->granted)
        __builtin_trap();
    stream->granted -= size;
    uint32_t at = (stream->begin + stream->held) % GATE_WINDOW;
    uint32_t first = size < GATE_WINDOW - at ? size : GATE_WINDOW - at;
    __builtin_memcpy(stream->buffer + at, data, first);
    __builtin_memcpy(stream->buffer, data + first, size - first);
    stream->held += size;
}

// Takes note of a packet that is not a reply.
static inline void gate_handle(struct gate *gate, const struct gate_header *header, const uint8_t *content, size_t size) {
    if (header->code == -1) {
        uint16_t count;
        if (size < sizeof count)
            return;
        __builtin_memcpy(&count, content, sizeof count);
        for (int i = 0; i < count && i < GATE_MAX_SERVICES && i + sizeof count < size; i++)
            gate->available[i] = content[sizeof count + i] & 1;
        if (header->domain == GATE_CALL)
            gate->replied = count;
    } else if (header->domain == GATE_FLOW) {
        for (; size >= 8; content += 8, size -= 8) {
            int32_t entry[2];
            __builtin_memcpy(entry, content, sizeof entry);
            struct gate_stream *stream = gate_find(gate, header->code, entry[0]);
            if (stream && entry[1] > 0)
                stream->credit += (uint32_t)entry[1];
            else if (stream && entry[1] == 0)
                stream->unwanted = true;
        }
    } else if (header->domain == GATE_DATA && size >= 8) {
        int32_t head[2];
        __builtin_memcpy(head, content, sizeof head);
        struct gate_stream *stream = gate_find(gate, header->code, head[0]);
        if (stream && size > sizeof head) {
            gate_hold(stream, content + sizeof head, (uint32_t)(size - sizeof head));
        } else if (stream) {
            stream->ended = true;
            stream->note = head[1];
        }
    }
}

// Takes a packet out of the input, if there is a complete one. The content is there until something is received again.
static inline bool gate_next(struct gate *gate, struct gate_header *header, const uint8_t **content) {
    size_t held = gate->end - gate->begin;
    if (held < sizeof *header)
        return false;
    __builtin_memcpy(header, gate->input + gate->begin, sizeof *header);
    if (header->size < sizeof *header || header->size > GATE_MAX_PACKET)
        __builtin_trap();
    if (held < gate_padded(header->size))
        return false;
    *content = gate->input + gate->begin + sizeof *header;
    gate->begin += gate_padded(header->size);
    return true;
}

// Sends what there is to send, as far as possible, and receives; waits if neither is possible. Returns how much was sent.
static inline size_t gate_transfer(struct gate *gate, const struct gate_buffer *send, size_t count, int64_t timeout) {
    if (gate->begin > 0) {
        __builtin_memmove(gate->input, gate->input + gate->begin, gate->end - gate->begin);
        gate->end -= gate->begin;
        gate->begin = 0;
    }
    struct gate_buffer receive = {gate->input + gate->end, sizeof gate->input - gate->end};
    size_t received = 0, sent = 0;
    uint64_t flags = 0;
    gate_io(&receive, 1, &received, send, count, &sent, timeout, &flags);
    gate->end += received;
    if (flags & 1 && gate->started)
        gate->resumptions++;
    gate->started = true;
    return sent;
}

// Sends a packet, of which the content consists of two parts. What has come by then is still in the input, unless that is full.
static inline void gate_send(struct gate *gate, int code, enum gate_domain domain, const void *head, size_t head_size,
                             const void *content, size_t size) {
    static const uint8_t zeros[8];
    struct gate_header header = {(uint32_t)(sizeof(struct gate_header) + head_size + size), (int16_t)code,
                                 (uint8_t)domain, 0};
    struct gate_buffer parts[4] = {
        {&header, sizeof header}, {head, head_size}, {content, size}, {zeros, gate_padded(header.size) - header.size}};
    size_t left = gate_padded(header.size);
    struct gate_buffer *part = parts;
    while (left > 0) {
        struct gate_header received;
        const uint8_t *received_content;
        if (gate->end - gate->begin == sizeof gate->input && gate_next(gate, &received, &received_content))
            gate_handle(gate, &received, received_content, received.size - sizeof received);
        size_t sent = gate_transfer(gate, part, (size_t)(parts + 4 - part), -1);
        left -= sent;
        for (; part < parts + 4 && sent >= part->size; part++)
            sent -= part->size;
        if (part < parts + 4) {
            part->data = (const uint8_t *)part->data + sent;
            part->size -= sent;
        }
    }
}

// Takes note of what has come, or waits for something for so many nanoseconds (for ever if negative). A reply that nobody waits for
// is forgotten.
static inline void gate_wait(struct gate *gate, int64_t timeout) {
    struct gate_header header;
    const uint8_t *content;
    bool any = false;
    for (int round = 0; round < 2; round++) {
        while (gate_next(gate, &header, &content)) {
            gate_handle(gate, &header, content, header.size - sizeof header);
            any = true;
        }
        if (any || round == 1)
            return;
        gate_transfer(gate, NULL, 0, timeout);
    }
}

// Nanoseconds on a clock that stands still while the program is suspended.
static inline uint64_t gate_time(void) {
    uint64_t time = 0;
    gate_clock_time_get(1, 1, &time);
    return time;
}

// Waits for so many nanoseconds.
static inline void gate_sleep(struct gate *gate, uint64_t duration) {
    uint64_t begin = gate_time(), passed;
    while ((passed = gate_time() - begin) < duration) {
        uint64_t left = duration - passed;
        gate_wait(gate, left < INT64_MAX ? (int64_t)left : INT64_MAX);
    }
}

// Discovers a service, for the first time. Returns its code.
static inline int gate_discover(struct gate *gate, const char *name) {
    size_t length = 0;
    while (name[length])
        length++;
    if (length == 0 || length > 127 || gate->services == GATE_MAX_SERVICES)
        return GATE_INVALID;
    int code = gate->services++;
    uint8_t head[3] = {1, 0, (uint8_t)length};
    gate->replied = -1;
    gate_send(gate, -1, GATE_CALL, head, sizeof head, name, length);
    while (gate->replied < 0)
        gate_wait(gate, -1);
    if (gate->replied <= code)
        return GATE_INVALID;
    return gate->available[code] ? code : GATE_UNAVAILABLE;
}

// Makes a call, and waits for the reply, of which as much is kept as fits. Returns the whole reply's size.
static inline int gate_call(struct gate *gate, int code, const void *content, size_t size, void *reply, size_t capacity) {
    if (size > GATE_MAX_CONTENT)
        return GATE_INVALID;
    if (code < 0 || code >= gate->services || !gate->available[code])
        return GATE_UNAVAILABLE;
    gate_send(gate, code, GATE_CALL, NULL, 0, content, size);
    for (;;) {
        struct gate_header header;
        const uint8_t *received;
        while (gate_next(gate, &header, &received)) {
            size_t received_size = header.size - sizeof header;
            if (header.code == code && header.domain == GATE_CALL) {
                __builtin_memcpy(reply, received, received_size < capacity ? received_size : capacity);
                return (int)received_size;
            }
            gate_handle(gate, &header, received, received_size);
        }
        gate_transfer(gate, NULL, 0, -1);
    }
}

// Begins to use a stream which a service has opened. To be called before anything else is when its id has come.
static inline void gate_open(struct gate *gate, struct gate_stream *stream, int code, int32_t id) {
    stream->code = (int16_t)code;
    stream->id = id;
    stream->credit = stream->granted = stream->begin = stream->held = 0;
    stream->ended = stream->unwanted = stream->finished = false;
    stream->note = 0;
    stream->next = gate->streams;
    gate->streams = stream;
}

// Waits for a connection to the service `origin`. Returns 0, the service's error (1: nobody can connect any more), or one of the above.
static inline int gate_accept(struct gate *gate, int origin, struct gate_stream *stream) {
    int32_t reply[2];
    int size = gate_call(gate, origin, NULL, 0, reply, sizeof reply);
    if (size < 0)
        return size;
    if (size < (int)sizeof reply)
        return GATE_REFUSED;
    if (reply[1] == 0)
        gate_open(gate, stream, origin, reply[0]);
    return reply[1];
}

// Tells the other side how much more may come; nothing ever again if that is zero.
static inline void gate_grant(struct gate *gate, struct gate_stream *stream, uint32_t size) {
    int32_t entry[2] = {stream->id, (int32_t)size};
    if (gate->available[stream->code])
        gate_send(gate, stream->code, GATE_FLOW, entry, sizeof entry, NULL, 0);
}

// Reads what has come, as far as it fits; waits if that is nothing. Returns how much it is. Zero is the end.
static inline size_t gate_read(struct gate *gate, struct gate_stream *stream, void *data, size_t size) {
    uint32_t room = GATE_WINDOW - stream->held - stream->granted;
    if (!stream->ended && room >= GATE_WINDOW / 2 && gate->available[stream->code]) {
        stream->granted += room;
        gate_grant(gate, stream, room);
    }
    while (stream->held == 0 && !stream->ended && size > 0)
        gate_wait(gate, -1);
    uint32_t taken = size < stream->held ? (uint32_t)size : stream->held;
    uint32_t first = taken < GATE_WINDOW - stream->begin ? taken : GATE_WINDOW - stream->begin;
    __builtin_memcpy(data, stream->buffer + stream->begin, first);
    __builtin_memcpy((uint8_t *)data + first, stream->buffer, taken - first);
    stream->begin = (stream->begin + taken) % GATE_WINDOW;
    stream->held -= taken;
    return taken;
}

// Writes all of it, unless the other side wants nothing more, or is not there any more. Returns how much was written.
static inline size_t gate_write(struct gate *gate, struct gate_stream *stream, const void *data, size_t size) {
    size_t written = 0;
    while (written < size && !stream->unwanted && !stream->finished && gate->available[stream->code]) {
        if (stream->credit == 0) {
            gate_wait(gate, -1);
            continue;
        }
        size_t part = size - written;
        if (part > stream->credit)
            part = stream->credit;
        if (part > GATE_MAX_CONTENT - 8)
            part = GATE_MAX_CONTENT - 8;
        stream->credit -= (uint32_t)part;
        int32_t head[2] = {stream->id, 0};
        gate_send(gate, stream->code, GATE_DATA, head, sizeof head, (const uint8_t *)data + written, part);
        written += part;
    }
    return written;
}

// Tells the other side that nothing more will be written.
static inline void gate_finish(struct gate *gate, struct gate_stream *stream) {
    int32_t head[2] = {stream->id, 0};
    if (!stream->finished && gate->available[stream->code])
        gate_send(gate, stream->code, GATE_DATA, head, sizeof head, NULL, 0);
    stream->finished = true;
}

// Ends a stream in both directions, and forgets it.
static inline void gate_close(struct gate *gate, struct gate_stream *stream) {
    gate_finish(gate, stream);
    gate_grant(gate, stream, 0);
    for (struct gate_stream **link = &gate->streams; *link; link = &(*link)->next) {
        if (*link == stream) {
            *link = stream->next;
            break;
        }
    }
}

#endif
