"""What a plain run of the lab leaves out, and what is run on every kernel."""

# What of Linux and of the tools beside it differs from one release to the next, and the tests that show whether we can do with it:
# `tests/run kernels` runs these, and no other, on each suite.
KERNELS = {
    "IPVS: services of addresses and of firewall marks, NAT, DR, TUN, IPv6, TLS": [
        *("matrix.test_matrix_nat", "matrix.test_matrix_dr", "matrix.test_matrix_tun"),
        *("roads.test_tun_thirty_sessions", "roads.test_ipv6_tun_thirty_sessions"),
        *("roads.test_persistence_keeps_serving_without_the_daemon", "roads.test_kernel_timeouts_are_set"),
        *("boundary.test_tun_an_active_row_leads_to_the_active_port", "changes.test_what_keepalived_forgets"),
        *("thresholds.test_nat_a_full_server_gets_no_new_session", "local_node.test_nat_with_a_server_on_board"),
    ],
    "IPVS: what one director tells another; keepalived": ["pair.test_nat_pair"],
    "IPVS: idle connections, read from /proc and kept alive": ["idle.test_nat"],
    "nf_tables: our table is written, put right, exchanged for another version's, taken away": [
        *("survival.test_rules_that_someone_changed_are_put_right", "upgrade.test_sets_declared_otherwise_are_exchanged"),
        *("upgrade.test_dr_previous_release", "upgrade.test_nat_previous_release"),
        *("ownership.test_nat_flush_empties_the_kernel", "ownership.test_dr_flush_spares_the_operators_rows"),
    ],
    "nf_tables: sets that packets write, translations from maps, ranges of ports": [
        *("survival.test_a_full_set_ends_the_rule_and_not_the_chain", "floods.test_tun_options_make_no_new_bucket"),
        *("first_light.test_nat_shared_range", "first_light.test_unexpected_data_is_dropped_and_counted"),
    ],
    "nf_tables: payload, fragments": ["forgery.test_dr_a_command_in_fragments", "forgery.test_nat_data_in_a_syn"],
    "NFQUEUE: packets that wait, and that are changed": [
        *("queued.test_nat_packets_that_wait", "queued.test_dr_packets_that_wait"),
        *("first_light.test_nat_reply_names_the_vip", "inspector.test_227_in_two_segments"),
        "survival.test_second_daemon_on_the_same_queue",
    ],
    "NFLOG": ["explain.test_a_session_is_explained_after_its_end"],
    "addresses that say who added them": ["addresses.test_vip_interface"],
    "a kernel that lacks something": [
        *("refusals.test_kernel_without_ipvs_is_69", "refusals.test_kernel_without_queue_is_69"),
        "refusals.test_a_part_of_the_rules_that_the_kernel_lacks_is_named",
    ],
    "the Debian package under systemd": ["package.test_package"],
}


def long(test):
    """Marks a test that repeats on another road what a shorter one shows, or takes minutes: `tests/run lab --all` runs it."""
    test.long = True
    return test
