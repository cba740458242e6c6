// libpaho, the synchronous C client with TLS (Debian: libpaho-mqtt-dev). Link with -lpaho-mqtt3cs.

#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIMEOUT_MS = 15000, BIG = 100000 };

static int v5;
static char error[256];
static char nodes[3][128], tls[3][128], ws[3][128];

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        if (!(call)) {                                                                                                 \
            if (!*error) snprintf(error, sizeof error, "%s", #call);                                                   \
            return 0;                                                                                                  \
        }                                                                                                              \
    } while (0)

static const char *topic(const char *name) {
    static char topics[8][128];
    static int next;
    char *text = topics[next++ % 8];
    snprintf(text, sizeof topics[0], "clients/libpaho/%s/%s", v5 ? "5" : "3.1.1", name);
    return text;
}

static void list(const char *name, const char *scheme, const char *path, char out[3][128]) {
    char copy[512] = "";
    if (getenv(name)) snprintf(copy, sizeof copy, "%s", getenv(name));
    int at = 0;
    for (char *one = strtok(copy, ","); one && at < 3; one = strtok(NULL, ","))
        snprintf(out[at++], 128, "%s://%s%s", scheme, one, path);
}

static MQTTClient connect_to(const char *url, const char *id, int session, const char *will) {
    char client_id[64];
    snprintf(client_id, sizeof client_id, "libpaho-%s-%s", v5 ? "5" : "311", id);
    MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
    if (v5) create.MQTTVersion = MQTTVERSION_5;
    MQTTClient client;
    if (MQTTClient_createWithOptions(&client, url, client_id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create)) return NULL;
    MQTTClient_connectOptions plain = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions five = MQTTClient_connectOptions_initializer5;
    MQTTClient_connectOptions *options = v5 ? &five : &plain;
    if (v5)
        options->cleanstart = !session;
    else {
        options->cleansession = !session;
        options->MQTTVersion = MQTTVERSION_3_1_1;
    }
    MQTTClient_SSLOptions ssl = MQTTClient_SSLOptions_initializer;
    ssl.trustStore = getenv("BANYAN_CA");
    ssl.enableServerCertAuth = 1;
    ssl.verify = 1;
    if (!strncmp(url, "ssl:", 4)) options->ssl = &ssl;
    MQTTClient_willOptions last = MQTTClient_willOptions_initializer;
    last.topicName = will;
    last.message = "gone";
    last.qos = 1;
    if (will) options->will = &last;
    int code;
    if (v5) {
        MQTTProperties properties = MQTTProperties_initializer;
        MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL};
        expiry.value.integer4 = session ? 600 : 0;
        MQTTProperties_add(&properties, &expiry);
        MQTTResponse response = MQTTClient_connect5(client, options, &properties, NULL);
        code = response.reasonCode;
        MQTTResponse_free(response);
        MQTTProperties_free(&properties);
    } else
        code = MQTTClient_connect(client, options);
    if (code == 0) return client;
    snprintf(error, sizeof error, "CONNECT to %s: %d", url, code);
    MQTTClient_destroy(&client);
    return NULL;
}

static MQTTClient at(int node, const char *id) { return connect_to(nodes[node], id, 0, NULL); }

static int publish(MQTTClient client, const char *name, const char *payload, int retain) {
    MQTTClient_deliveryToken token;
    if (v5) {
        MQTTResponse response =
            MQTTClient_publish5(client, name, strlen(payload), payload, 1, retain, NULL, &token);
        int code = response.reasonCode;
        MQTTResponse_free(response);
        if (code) return 0;
    } else if (MQTTClient_publish(client, name, strlen(payload), payload, 1, retain, &token))
        return 0;
    return MQTTClient_waitForCompletion(client, token, TIMEOUT_MS) == 0;
}

static int subscribe(MQTTClient client, const char *filter) {
    if (!v5) return MQTTClient_subscribe(client, filter, 1) == 0;
    MQTTResponse response = MQTTClient_subscribe5(client, filter, 1, NULL, NULL);
    int code = response.reasonCode;
    MQTTResponse_free(response);
    return code == 1;
}

// The next message: 1, or 0 if none came in time.
static int next(MQTTClient client, char *name, char *payload, size_t size, int timeout_ms) {
    char *text = NULL;
    int length = 0;
    MQTTClient_message *message = NULL;
    MQTTClient_receive(client, &text, &length, &message, timeout_ms);
    if (!message) return 0;
    snprintf(name, 128, "%s", text);
    size_t bytes = (size_t)message->payloadlen < size - 1 ? (size_t)message->payloadlen : size - 1;
    memcpy(payload, message->payload, bytes);
    payload[bytes] = 0;
    MQTTClient_freeMessage(&message);
    MQTTClient_free(text);
    return 1;
}

static int leave(MQTTClient client) {
    if (v5)
        MQTTClient_disconnect5(client, 1000, MQTTREASONCODE_SUCCESS, NULL);
    else
        MQTTClient_disconnect(client, 1000);
    MQTTClient_destroy(&client);
    return 1;
}

// What is retained under a topic, read at a node; "" if nothing is. Our own message behind it shows the end.
static int retained(int node, const char *name, char *payload, size_t size) {
    char found[128], *end = malloc(size);
    MQTTClient client = at(node, "reader");
    TRY(end && client);
    TRY(subscribe(client, name) && subscribe(client, topic("end")) && publish(client, topic("end"), "end", 0));
    *payload = 0;
    for (;;) {
        TRY(next(client, found, end, size, TIMEOUT_MS));
        if (!strcmp(found, topic("end"))) break;
        strcpy(payload, end);
    }
    free(end);
    return leave(client);
}

static int connects(void) {
    for (int node = 0; node < 3; node++) {
        MQTTClient client = at(node, "connect");
        TRY(client);
        leave(client);
    }
    return 1;
}

static int writes_reads_clears(void) {
    char payload[64];
    MQTTClient writer = at(0, "writer"), cleaner = at(2, "cleaner");
    TRY(writer && cleaner && publish(writer, topic("r"), "value", 1));
    TRY(retained(1, topic("r"), payload, sizeof payload) && !strcmp(payload, "value"));
    TRY(publish(cleaner, topic("r"), "", 1));
    TRY(retained(0, topic("r"), payload, sizeof payload) && !*payload);
    return leave(writer) && leave(cleaner);
}

static int wildcards(void) {
    const char *names[] = {"w/1/x", "w/1/y", "w/2/x", "w/x", "w/3/x/y", "w/last"};
    const char *wanted[] = {"w/1/x", "w/2/x", "w/last"};
    char name[128], payload[64];
    MQTTClient client = at(1, "wildcards"), publisher = at(2, "publisher");
    TRY(client && publisher && subscribe(client, topic("w/+/x")) && subscribe(client, topic("w/last/#")));
    for (int i = 0; i < 6; i++) TRY(publish(publisher, topic(names[i]), names[i], 0));
    for (int i = 0; i < 3; i++)
        TRY(next(client, name, payload, sizeof payload, TIMEOUT_MS) && !strcmp(payload, wanted[i]));
    return leave(client) && leave(publisher);
}

static int shared(void) {
    char filter[160], name[128], payload[64];
    int times[20] = {0}, shares[2] = {0};
    snprintf(filter, sizeof filter, "$share/libpaho%d/%s", v5, topic("shared"));
    MQTTClient members[2] = {at(0, "member0"), at(1, "member1")}, publisher = at(2, "publisher");
    TRY(members[0] && members[1] && publisher && subscribe(members[0], filter) && subscribe(members[1], filter));
    for (int i = 0; i < 20; i++) {
        snprintf(payload, sizeof payload, "%d", i);
        TRY(publish(publisher, topic("shared"), payload, 0));
    }
    for (int member = 0; member < 2; member++)
        while (next(members[member], name, payload, sizeof payload, 1500)) {
            times[atoi(payload) % 20]++;
            shares[member]++;
        }
    for (int i = 0; i < 20; i++) TRY(times[i] == 1);
    TRY(shares[0] > 0 && shares[1] > 0);
    return leave(members[0]) && leave(members[1]) && leave(publisher);
}

static int resumes(void) {
    char name[128], payload[64];
    const char *wanted[] = {"0", "1", "2"};
    MQTTClient first = connect_to(nodes[0], "session", 1, NULL), publisher = at(1, "publisher");
    TRY(first && publisher && subscribe(first, topic("session")));
    leave(first);
    for (int i = 0; i < 3; i++) TRY(publish(publisher, topic("session"), wanted[i], 0));
    MQTTClient second = connect_to(nodes[2], "session", 1, NULL);
    TRY(second);
    for (int i = 0; i < 3; i++)
        TRY(next(second, name, payload, sizeof payload, TIMEOUT_MS) && !strcmp(payload, wanted[i]));
    leave(second);
    MQTTClient clean = at(0, "session");
    return clean && leave(clean) && leave(publisher);
}

static int wills(void) {
    char name[128], payload[64];
    MQTTClient witness = at(1, "witness");
    TRY(witness && subscribe(witness, topic("will")));
    pid_t mortal = fork();
    if (mortal == 0) _exit(connect_to(nodes[0], "mortal", 0, topic("will")) ? 0 : 1); // without DISCONNECT
    int status;
    waitpid(mortal, &status, 0);
    TRY(status == 0);
    TRY(next(witness, name, payload, sizeof payload, TIMEOUT_MS) && !strcmp(payload, "gone"));
    return leave(witness);
}

static int over(const char *url, const char *name, int reader) {
    static char big[BIG + 1], payload[BIG + 2];
    memset(big, 'x', BIG);
    MQTTClient client = connect_to(url, name, 0, NULL);
    TRY(client && publish(client, topic(name), big, 1));
    TRY(retained(reader, topic(name), payload, sizeof payload) && !strcmp(payload, big));
    TRY(publish(client, topic(name), "", 1));
    return leave(client);
}

static int over_tls(void) { return over(tls[1], "tls", 2); }
static int over_websocket(void) { return over(ws[2], "ws", 0); }

int main(void) {
    struct {
        const char *what;
        int (*step)(void);
    } steps[] = {
        {"connect at every node", connects},
        {"retained: written at 1, read at 2, cleared at 3, gone at 1", writes_reads_clears},
        {"wildcards at 2, published at 3", wildcards},
        {"shared subscription at 1 and 2, published at 3", shared},
        {"session of 1, published at 2, resumed at 3", resumes},
        {"will of 1, seen at 2", wills},
        {"TLS to 2, read at 3", over_tls},
        {"WebSocket to 3, read at 1", over_websocket},
    };
    int failures = 0;
    list("BANYAN_NODES", "tcp", "", nodes);
    list("BANYAN_TLS", "ssl", "", tls);
    list("BANYAN_WS", "ws", "/mqtt", ws);
    MQTTClient_init_options init = MQTTClient_init_options_initializer;
    init.do_openssl_init = 1;
    MQTTClient_global_init(&init);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (v5 = 1; v5 >= 0; v5--)
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            *error = 0;
            int ok = steps[i].step();
            failures += !ok;
            printf("%-9s %-5s %-60s %s%s\n", "libpaho", v5 ? "5" : "3.1.1", steps[i].what, ok ? "ok" : "FAILED: ",
                   ok ? "" : error);
        }
    return failures > 0;
}
