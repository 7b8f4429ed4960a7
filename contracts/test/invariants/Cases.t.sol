// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Checks} from "../support/Vm.sol";
import {CaseHandler} from "./CaseHandler.sol";
import {FuzzSelector} from "./Conservation.t.sol";

/// @notice Cases and votes, whatever is done in whatever order.
contract CasesInvariantTest is Checks {
    CaseHandler private _handler;

    function setUp() public {
        _handler = new CaseHandler();
        _handler.setUp();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector({addr: address(_handler), selectors: _actions()});
    }

    function invariant_bonds_cases_and_stakes_agree_with_the_books() external view {
        _handler.checkBonds();
        _handler.checkCases();
    }

    /// @dev Liveness: whatever was done, every case and proposal ends, and no bond or stake is stuck.
    function afterInvariant() external {
        _handler.leave();
        this.invariant_bonds_cases_and_stakes_agree_with_the_books();
    }

    function _actions() private pure returns (bytes4[] memory actions) {
        bytes4[20] memory all = [
            CaseHandler.challenge.selector,
            CaseHandler.challenge.selector,
            CaseHandler.challenge.selector,
            CaseHandler.contest.selector,
            CaseHandler.contest.selector,
            CaseHandler.judge.selector,
            CaseHandler.close.selector,
            CaseHandler.withdraw.selector,
            CaseHandler.unbond.selector,
            CaseHandler.leaveStake.selector,
            CaseHandler.bond.selector,
            CaseHandler.wait.selector,
            CaseHandler.wait.selector,
            CaseHandler.pause.selector,
            CaseHandler.donate.selector,
            CaseHandler.steal.selector,
            CaseHandler.propose.selector,
            CaseHandler.castVote.selector,
            CaseHandler.castVote.selector,
            CaseHandler.carryOut.selector
        ];
        actions = new bytes4[](all.length);
        for (uint256 i = 0; i < all.length; ++i) actions[i] = all[i];
    }

    /// @dev An invariant that holds because nothing happens proves nothing.
    function test_every_action_is_reached() external {
        bytes4[] memory actions = _actions();
        for (uint256 i = 0; i < 5_000; ++i) {
            uint256 random = uint256(keccak256(abi.encode(i)));
            bytes memory call = abi.encodePacked(
                actions[random % actions.length], abi.encode(random >> 8, uint256(uint8(random >> 64)) % 2)
            );
            (bool success, bytes memory reason) = address(_handler).call(call);
            if (!success) {
                assembly ("memory-safe") {
                    revert(add(reason, 0x20), mload(reason))
                }
            }
        }
        string[19] memory names = [
            "challenge", "contest", "take over", "guilty", "not guilty", "close", "withdraw", "unbond", "leave", "bond",
            "wait", "pause", "donate", "steal", "propose", "vote", "queue", "execute", "refused"
        ];
        for (uint256 i = 0; i < names.length; ++i) yes(names[i], _handler.numCalls(names[i]) > 0);
        _handler.leave();
        this.invariant_bonds_cases_and_stakes_agree_with_the_books();
    }
}
