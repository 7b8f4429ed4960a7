// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Checks} from "../support/Vm.sol";
import {BondHandler} from "./BondHandler.sol";
import {FuzzSelector} from "./Conservation.t.sol";

/// @notice Bonds of contributors, whatever is done in whatever order.
contract BondsInvariantTest is Checks {
    BondHandler private _handler;

    function setUp() public {
        _handler = new BondHandler();
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

    function invariant_posted_is_held_taken_back_or_forfeited() external view {
        _handler.checkSums();
    }

    /// @dev Liveness: whatever was done, every bond that is left can be taken back.
    function afterInvariant() external {
        _handler.leave();
        this.invariant_posted_is_held_taken_back_or_forfeited();
    }

    function _actions() private pure returns (bytes4[] memory actions) {
        bytes4[8] memory all = [
            BondHandler.post.selector,
            BondHandler.postFor.selector,
            BondHandler.startTakeBack.selector,
            BondHandler.takeBack.selector,
            BondHandler.forfeit.selector,
            BondHandler.curate.selector,
            BondHandler.wait.selector,
            BondHandler.steal.selector
        ];
        actions = new bytes4[](all.length);
        for (uint256 i = 0; i < all.length; ++i) actions[i] = all[i];
    }

    /// @dev An invariant that holds because nothing happens proves nothing.
    function test_every_action_is_reached() external {
        bytes4[] memory actions = _actions();
        for (uint256 i = 0; i < 400; ++i) {
            uint256 random = uint256(keccak256(abi.encode(i)));
            bytes memory call =
                abi.encodePacked(actions[random % actions.length], abi.encode(random >> 8, random >> 64));
            (bool success, bytes memory reason) = address(_handler).call(call);
            if (!success) {
                assembly ("memory-safe") {
                    revert(add(reason, 0x20), mload(reason))
                }
            }
        }
        string[8] memory names =
            ["post", "postFor", "startTakeBack", "takeBack", "forfeit", "curate", "wait", "steal"];
        for (uint256 i = 0; i < names.length; ++i) yes(names[i], _handler.numCalls(names[i]) > 0);
        _handler.leave();
        this.invariant_posted_is_held_taken_back_or_forfeited();
    }
}
