/* A Modbus server on libmodbus, as an independent peer of our connectors.
 *
 *   modbus_server [series.csv [first [last]]]     TCP: prints its port and serves until it is killed
 *   modbus_server rtu DEVICE UNIT                 RTU at 19200 8E1: prints its unit; register 0 holds it
 *
 * holding registers 0..199   each holds its own address at the start; MODBUS_REGISTERS says how many others
 * coils 0..63, inputs 0..63  off
 * input registers 0..1       the series' value, float32 ABCD; each read of register 0 takes the next row
 * input registers 2..3       that row's number, uint32 ABCD, from 0
 * input register 4           1 once the last row has been read
 * Every other address is answered with exception 2. One client at a time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_INPUT_REGISTERS 4

static float *series;
static long rows;

static void load(const char *path, long first, long last) {
    char line[256];
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof line, file) == NULL) { /* the heading */
        perror(path);
        exit(1);
    }
    for (long row = 0; fgets(line, sizeof line, file) != NULL && (last < 0 || row < last); row++) {
        char *comma = strchr(line, ',');
        if (row < first || comma == NULL)
            continue;
        if (rows % 4096 == 0)
            series = realloc(series, (rows + 4096) * sizeof *series);
        series[rows++] = strtof(comma + 1, NULL);
    }
    fclose(file);
}

static void put(uint16_t *at, uint32_t bits) {
    at[0] = bits >> 16;
    at[1] = bits & 0xFFFF;
}

static void next_row(modbus_mapping_t *map) {
    static long row;
    uint32_t bits;
    if (row >= rows)
        return;
    memcpy(&bits, &series[row], sizeof bits);
    put(map->tab_input_registers, bits);
    put(map->tab_input_registers + 2, (uint32_t)row);
    row++;
    map->tab_input_registers[4] = row == rows;
}

static void serve(modbus_t *link, modbus_mapping_t *map) {
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int header = modbus_get_header_length(link);
    for (;;) {
        int length = modbus_receive(link, query);
        if (length < 0)
            return;
        if (length == 0)
            continue;
        if (query[header] == READ_INPUT_REGISTERS && query[header + 1] == 0 && query[header + 2] == 0)
            next_row(map);
        if (modbus_reply(link, query, length, map) < 0)
            return;
    }
}

/* A line is shared and noisy: what is not for this unit, or not whole, is no reason to stop. */
static int serve_line(const char *device, int unit, modbus_mapping_t *map) {
    uint8_t query[MODBUS_RTU_MAX_ADU_LENGTH];
    modbus_t *link = modbus_new_rtu(device, 19200, 'E', 8, 1);
    if (link == NULL || modbus_set_slave(link, unit) < 0 || modbus_connect(link) < 0) {
        perror(device);
        return 1;
    }
    map->tab_registers[0] = unit;
    printf("%d\n", unit);
    fflush(stdout);
    for (;;) {
        int length = modbus_receive(link, query);
        if (length > 0)
            modbus_reply(link, query, length, map);
        else if (length < 0 && (errno == EIO || errno == EBADF || errno == ECONNRESET))
            return 0;
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in name;
    socklen_t size = sizeof name;
    const char *wanted = getenv("MODBUS_REGISTERS");
    int registers = wanted == NULL ? 200 : atoi(wanted);
    modbus_mapping_t *map = modbus_mapping_new(64, 64, registers, 5);
    if (map == NULL)
        return 1;
    for (int address = 0; address < registers; address++)
        map->tab_registers[address] = address;
    if (argc == 4 && strcmp(argv[1], "rtu") == 0)
        return serve_line(argv[2], atoi(argv[3]), map);
    modbus_t *link = modbus_new_tcp("127.0.0.1", 0);
    int listener = modbus_tcp_listen(link, 8);
    if (listener < 0 || getsockname(listener, (struct sockaddr *)&name, &size) < 0) {
        perror("modbus_server");
        return 1;
    }
    if (argc > 1)
        load(argv[1], argc > 2 ? atol(argv[2]) : 0, argc > 3 ? atol(argv[3]) : -1);
    printf("%d\n", ntohs(name.sin_port));
    fflush(stdout);
    while (modbus_tcp_accept(link, &listener) >= 0) {
        serve(link, map);
        modbus_close(link);
    }
    return 0;
}
