// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {Windows} from "../../src/interfaces/IParams.sol";
import {Governed} from "../support/Governed.sol";
import {vm} from "../support/Vm.sol";

/// @notice The times of a development chain, where a case is judged within a minute.
contract DevelopmentTest is Governed {
    constructor() {
        (VOTING_DELAY, VOTING, WAIT) = (5, 30, 10);
    }

    function windows() internal pure override returns (Windows memory) {
        return Windows({
            epoch: 30,
            propose: 60,
            window: 10,
            redrawBlocks: 16,
            contest: 30,
            judge: 60,
            pauseMax: 30,
            pauseGap: 60,
            unbonding: 120,
            withdrawDelayMin: 10,
            withdrawDelayMax: 1 hours,
            withdrawPeriod: 7 days
        });
    }

    /// @dev Also if the quorum comes in the last second, which makes the vote a third longer.
    function test_a_case_is_voted_on_within_the_judges_time() public {
        vm.prank(node);
        staking.unbond(STAKE);
        bytes32 digest = _challenge(_evidence(0));
        Proposal memory p = _call(address(cases), abi.encodeCall(IDisputes.judge, (digest, true)));
        uint256 id = _proposeBy(voter, p);
        vm.warp(gov.proposalDeadline(id));
        _castBy(voter, id, FOR);
        vm.warp(gov.proposalDeadline(id) + 1);
        _queue(p);
        vm.warp(block.timestamp + WAIT);
        _execute(p);
        eq("slashed", cases.totals().slashed, MIN_STAKE);
    }

    function test_a_draw_sets_the_stake_free() public {
        vm.prank(node);
        staking.unbond(STAKE);
        bytes32 digest = _challenge(_evidence(0));
        vm.warp(block.timestamp + 61);
        cases.close(digest);
        _challenge(_evidence(1));
        vm.warp(block.timestamp + 59);
        vm.prank(node);
        staking.withdraw();
        eq("left", staking.totals().withdrawn, STAKE);
    }

    function test_a_week_is_half_of_the_judges_time() public {
        _judge(_challenge(_evidence(0)), true);
        vm.warp(block.timestamp + 30);
        _challenge(_evidence(1));
    }
}
