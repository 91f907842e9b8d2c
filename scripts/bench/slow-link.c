/*
 * A slow link between two network namespaces: slow-link MBIT_PER_SECOND ROUND_TRIP_MS NAMESPACE HERE THERE
 *
 * Makes a TUN device of address HERE in this namespace and one of address THERE in NAMESPACE, a path such
 * as /run/netns/name, and carries packets between them: each waits until those before it
 * have been sent at the rate of the link, and then for half of the round trip. Packets that would
 * wait in front of the link longer than QUEUE_MS are dropped, as a router does. So handshakes, slow
 * start and losses are those of a real link. Prints "ready"; ends with its standard input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PACKET_BYTES = 2048, PACKETS = 65536, QUEUE_MS = 100, BATCH = 64 };

struct packet {
	uint64_t due;
	int length;
	unsigned char bytes[PACKET_BYTES];
};

/* One direction. Packets leave in the order in which they came. */
struct direction {
	int from, to;
	uint64_t free_at;
	unsigned first, next;
	struct packet *packets;
};

static uint64_t now_ns(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void set_address(int sock, struct ifreq *request, unsigned long call, const char *address)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	inet_pton(AF_INET, address, &in.sin_addr);
	memcpy(&request->ifr_addr, &in, sizeof in);
	if (ioctl(sock, call, request)) err(1, "cannot give the device %s", address);
}

static int open_tun(const char *own, const char *peer)
{
	int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	if (tun < 0) err(1, "cannot open /dev/net/tun");
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	strcpy(request.ifr_name, "slow%d");
	if (ioctl(tun, TUNSETIFF, &request)) err(1, "cannot make a TUN device");
	int sock = socket(AF_INET, SOCK_DGRAM, 0);
	set_address(sock, &request, SIOCSIFADDR, own);
	set_address(sock, &request, SIOCSIFDSTADDR, peer);
	request.ifr_qlen = 1000;
	if (ioctl(sock, SIOCSIFTXQLEN, &request)) err(1, "cannot set the queue");
	request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_POINTOPOINT;
	if (ioctl(sock, SIOCSIFFLAGS, &request)) err(1, "cannot bring up the device");
	close(sock);
	return tun;
}

static void bring_up_loopback(void)
{
	int sock = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	if (ioctl(sock, SIOCSIFFLAGS, &request)) err(1, "cannot bring up the loopback");
	close(sock);
}

static void take(struct direction *way, double ns_per_byte, uint64_t delay)
{
	for (int count = 0; count < BATCH && way->next - way->first < PACKETS; count++) {
		struct packet *packet = &way->packets[way->next % PACKETS];
		packet->length = (int)read(way->from, packet->bytes, PACKET_BYTES);
		if (packet->length <= 0) return;
		uint64_t now = now_ns();
		uint64_t start = way->free_at > now ? way->free_at : now;
		if (start - now > QUEUE_MS * 1000000ull) continue;
		way->free_at = start + (uint64_t)(packet->length * ns_per_byte);
		packet->due = way->free_at + delay;
		way->next++;
	}
}

static void deliver(struct direction *way)
{
	uint64_t now = now_ns();
	while (way->first != way->next && way->packets[way->first % PACKETS].due <= now) {
		struct packet *packet = &way->packets[way->first++ % PACKETS];
		if (write(way->to, packet->bytes, (size_t)packet->length) < 0) continue; /* lost */
	}
}

static uint64_t earliest(const struct direction *ways)
{
	uint64_t due = UINT64_MAX;
	for (int at = 0; at < 2; at++) {
		const struct direction *way = &ways[at];
		if (way->first == way->next) continue;
		uint64_t own = way->packets[way->first % PACKETS].due;
		if (own < due) due = own;
	}
	return due;
}

static void carry(struct direction *ways, double ns_per_byte, uint64_t delay)
{
	for (;;) {
		uint64_t due = earliest(ways), now = now_ns();
		uint64_t wait = due == UINT64_MAX ? 1000000000u : due > now ? due - now : 0;
		struct timespec timeout = { (time_t)(wait / 1000000000u), (long)(wait % 1000000000u) };
		struct pollfd files[] = {
			{ .fd = ways[0].from, .events = POLLIN },
			{ .fd = ways[1].from, .events = POLLIN },
			{ .fd = STDIN_FILENO, .events = POLLIN },
		};
		if (ppoll(files, 3, &timeout, NULL) < 0) err(1, "poll");
		if (files[2].revents) return;
		for (int at = 0; at < 2; at++) {
			take(&ways[at], ns_per_byte, delay);
			deliver(&ways[at]);
		}
	}
}

int main(int count, char **words)
{
	if (count != 6) errx(2, "usage: slow-link MBIT_PER_SECOND ROUND_TRIP_MS NAMESPACE HERE THERE");
	double ns_per_byte = 8000.0 / atof(words[1]);
	uint64_t delay = (uint64_t)(atof(words[2]) * 1000000 / 2);
	int here = open_tun(words[4], words[5]);
	int space = open(words[3], O_RDONLY);
	if (space < 0 || setns(space, CLONE_NEWNET)) err(1, "cannot enter %s", words[3]);
	bring_up_loopback();
	int there = open_tun(words[5], words[4]);
	struct direction ways[] = { { .from = here, .to = there }, { .from = there, .to = here } };
	for (int at = 0; at < 2; at++) {
		ways[at].packets = calloc(PACKETS, sizeof *ways[at].packets);
		if (!ways[at].packets) err(1, "no memory");
	}
	puts("ready");
	fflush(stdout);
	carry(ways, ns_per_byte, delay);
	return 0;
}
