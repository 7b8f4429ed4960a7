// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Values} from "../src/interfaces/IParams.sol";
import {ChannelConfig} from "../src/interfaces/Types.sol";
import {Governed} from "./support/Governed.sol";
import {Measured} from "./support/Measured.sol";
import {vm} from "./support/Vm.sol";

/// @notice What cases and votes cost, see {Measured}.
/// forge-config: default.isolate = true
contract GasVotesTest is Governed, Measured {
    uint256 private constant SHORT = 4_096;
    uint256 private constant LONG = 24_576;

    mapping(address node => uint256 key) private _keys;

    function _file() internal pure override returns (string memory) {
        return "gas-votes.json";
    }

    function test_no_transaction_has_grown_or_exceeds_its_bar() public {
        _measureCases();
        _measureVotes();
        _bar("challenge_4_kb", 260_000);
        _bar("challenge_24_kb", 1_000_000);
        _bar("gov_propose", 80_000);
        _bar("gov_vote", 120_000);
        _bar("gov_queue", 150_000);
        _bar("gov_execute_set_values", 200_000);
        _compare();
    }

    /// @dev The first case of the network fills some words for all. The next ones are against nodes that had none.
    function _measureCases() private {
        bytes32 digest = _challenge(_of(_config(1), 0, SHORT));
        _note("challenge_4_kb_first");
        _contestBy(node, digest);
        _note("contest");
        _judge(digest, false);
        _note("judge_not_guilty");
        digest = _challenge(_of(_config(1), 1, SHORT));
        _note("challenge_4_kb_known_node");
        _judge(digest, true);
        _note("judge_guilty");
        digest = _challenge(_of(_another(0xE1), 0, SHORT));
        _note("challenge_4_kb");
        _lapse(digest);
        _note("close");
        _challenge(_of(_another(0xE2), 0, LONG));
        _note("challenge_24_kb");
        vm.prank(payer);
        cases.withdraw(payer);
        _note("withdraw_bonds");
    }

    /// @dev A node that never had a case. It signs with its own key.
    function _another(uint256 key) private returns (ChannelConfig memory config) {
        config = _config(1);
        config.node = vm.addr(key);
        _fund(config.node);
        vm.prank(config.node);
        staking.bond(STAKE);
        _keys[config.node] = key;
    }

    /// @dev Texts without a zero byte, which would be cheaper.
    function _of(ChannelConfig memory config, uint256 n, uint256 length) private view returns (Evidence memory e) {
        bytes memory prompt = new bytes(length / 2);
        for (uint256 i = 0; i < prompt.length; ++i) prompt[i] = bytes1(uint8(97 + i % 26));
        e = _evidence(config, n, prompt, prompt);
        if (config.node != node) _signBy(_keys[config.node], e);
    }

    function _measureVotes() private {
        Values memory v = values();
        v.dataPpm = 250_000;
        Proposal memory p = _setting(v);
        uint256 id = _proposeBy(voter, p);
        _note("gov_propose");
        vm.warp(block.timestamp + VOTING_DELAY + 1);
        _castBy(voter, id, FOR);
        _note("gov_vote");
        vm.warp(gov.proposalDeadline(id) + 1);
        _queue(p);
        _note("gov_queue");
        vm.warp(block.timestamp + WAIT);
        _execute(p);
        _note("gov_execute_set_values");
    }
}
