// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {IWired} from "../support/Contracts.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract WiredTest is World {
    function _fresh() private returns (IWired[2] memory) {
        return [
            IWired(_new("NodeStaking", abi.encode(token, params))),
            IWired(_new("PaymentChannels", abi.encode(token, params, staking, models, datanets)))
        ];
    }

    /// @dev F: a role that can be given again is a way to all the money.
    function test_a_role_is_given_once_and_the_power_to_do_so_is_gone() public {
        IWired[2] memory wired = _fresh();
        for (uint256 i = 0; i < 2; ++i) {
            eq("nobody yet", wired[i].rewards(), address(0));
            eq("deployer", wired[i].deployer(), address(this));
            _emits(address(wired[i]));
            emit IWired.RolesWired(alice);
            wired[i].wire(alice);
            eq("wired", wired[i].rewards(), alice);
            eq("dead", wired[i].deployer(), address(0));
            _refuses(IWired.NotDeployer.selector, abi.encode(address(this)));
            wired[i].wire(bob);
        }
    }

    function test_a_stranger_gives_no_role() public {
        IWired[2] memory wired = _fresh();
        for (uint256 i = 0; i < 2; ++i) {
            _refuses(IWired.NotDeployer.selector, abi.encode(stranger));
            vm.prank(stranger);
            wired[i].wire(stranger);
        }
    }

    function test_zero_is_no_role() public {
        IWired[2] memory wired = _fresh();
        for (uint256 i = 0; i < 2; ++i) {
            _refuses(IWired.ZeroRewards.selector);
            wired[i].wire(address(0));
            eq("the power is kept", wired[i].deployer(), address(this));
        }
    }

    function test_nobody_who_got_a_role_can_pass_it_on() public {
        address[4] memory all = [address(rewards), address(this), governor, node];
        for (uint256 i = 0; i < all.length; ++i) {
            _refuses(IWired.NotDeployer.selector, abi.encode(all[i]));
            vm.prank(all[i]);
            channels.wire(all[i]);
            _refuses(IWired.NotDeployer.selector, abi.encode(all[i]));
            vm.prank(all[i]);
            staking.wire(all[i]);
        }
    }

    function test_rewards_without_a_protocol_treasury_cannot_be_deployed() public {
        bytes memory arguments = abi.encode(token, params, channels, staking, datanets, address(0));
        bytes memory code = abi.encodePacked(vm.getCode("AttributionRewards.sol:AttributionRewards"), arguments);
        bytes4 reason;
        assembly ("memory-safe") {
            if create(0, add(code, 0x20), mload(code)) { revert(0, 0) }
            returndatacopy(0, 0, 4)
            reason := mload(0)
        }
        eq("reason", bytes32(reason), bytes32(IAttributionRewards.ZeroAddress.selector));
    }
}
