// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Values} from "../src/interfaces/IParams.sol";
import {Governed} from "./support/Governed.sol";
import {Measured} from "./support/Measured.sol";
import {vm} from "./support/Vm.sol";

/// @notice What votes cost, see {Measured}.
/// forge-config: default.isolate = true
contract GasVotesTest is Governed, Measured {
    function _file() internal pure override returns (string memory) {
        return "gas-votes.json";
    }

    function test_no_transaction_has_grown_or_exceeds_its_bar() public {
        _measureVotes();
        _bar("gov_propose", 80_000);
        _bar("gov_vote", 120_000);
        _bar("gov_queue", 150_000);
        _bar("gov_execute_set_values", 200_000);
        _bar("gov_execute_slash", 200_000);
        _compare();
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
        p = _slashing(MIN_STAKE);
        _decided(p);
        _execute(p);
        _note("gov_execute_slash");
    }
}
